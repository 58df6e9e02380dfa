// Longer than 300 lines: one table, an entry after the other.
// Defences that the tests of rows 1, 2, 4 to 13 and 15 need.
import type { Defence } from '../support/mutant.js';

const LOCK = 'const locked = await service.parking.lock(built, userns.fd, userns.payer);';

export const DEFENCES_1: readonly Defence[] = [
  {
    row: 1,
    file: '01-flags-cleared',
    pattern: 'can be cleared: detached',
    defence: 'flags are locked by the crossing into a namespace of the caller',
    edits: [{ source: 'daemon/methods/hand-out.ts', find: LOCK, replace: 'const locked = built.mount.duplicate();' }],
  },
  {
    row: 1,
    file: '01-flags-cleared',
    pattern: 'device nodes',
    defence: 'without the lock nodev is cleared and the device opens',
    edits: [{ source: 'daemon/methods/hand-out.ts', find: LOCK, replace: 'const locked = built.mount.duplicate();' }],
  },
  {
    row: 1,
    file: '01-flags-cleared',
    pattern: 'device nodes',
    defence: 'nodev is set on every mount',
    edits: [
      {
        source: 'daemon/build-mount.ts',
        find: 'ALWAYS = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV',
        replace: 'ALWAYS = MOUNT_ATTR_RDONLY',
      },
    ],
  },
  {
    row: 1,
    file: '01-flags-cleared',
    pattern: 'does not ask for it',
    defence: 'read-only is set on the mount, not only on its superblock',
    edits: [
      {
        source: 'daemon/build-mount.ts',
        find: 'ALWAYS = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV',
        replace: 'ALWAYS = MOUNT_ATTR_NODEV',
      },
    ],
  },
  {
    row: 1,
    file: '01-flags-cleared',
    pattern: 'no flag of a received composefs',
    defence: 'restrictions asked for are set before the crossing',
    edits: [
      {
        source: 'daemon/build-mount.ts',
        find: 'return ALWAYS | (nosuid ? MOUNT_ATTR_NOSUID : 0) | (noexec ? MOUNT_ATTR_NOEXEC : 0);',
        replace: 'return ALWAYS | ((nosuid && noexec) ? 0 : 0);',
      },
    ],
  },
  {
    row: 2,
    file: '02-temporary-mounts',
    pattern: 'every mount namespace',
    defence: 'the stage is nodev and nosuid',
    edits: [
      {
        source: 'daemon/worker/stage.ts',
        find: 'return fsmount(context, HARMLESS);',
        replace: 'return fsmount(context, HARMLESS & MOUNT_ATTR_NOEXEC);',
      },
    ],
  },
  {
    row: 2,
    file: '02-temporary-mounts',
    pattern: 'every mount namespace',
    defence: 'a mount has its flags before it is staged',
    edits: [
      {
        source: 'daemon/overlay.ts',
        find: 'return fsmount(context, attributes);',
        replace: 'return fsmount(context, 1 /* MOUNT_ATTR_RDONLY */);',
      },
    ],
  },
  {
    row: 2,
    file: '02-temporary-mounts',
    pattern: 'holds by descriptor',
    defence: 'a kept superblock is nodev and nosuid too',
    edits: [
      {
        source: 'daemon/build-mount.ts',
        find: 'return mountErofs(image, header, LAYER);',
        replace: 'return mountErofs(image, header, ALWAYS);',
      },
    ],
  },
  {
    row: 2,
    file: '02-temporary-mounts',
    pattern: 'nothing to see',
    defence: 'the stage is closed to the owner of the parked namespace',
    edits: [{ source: 'daemon/worker/stage.ts', find: "fsconfigString(context, 'mode', '0755');", replace: '' }],
  },
  {
    row: 2,
    file: '02-temporary-mounts',
    pattern: 'nothing to see',
    defence: "the host's mounts are left behind",
    edits: [{ source: 'daemon/worker/stage.ts', find: "umount2('.', MNT_DETACH);", replace: '' }],
  },
  {
    row: 4,
    file: '04-descriptor-index',
    pattern: 'the connection is dropped',
    defence: 'each index is below the number of descriptors',
    edits: [
      {
        source: 'core/wire/values.ts',
        find: 'if (readUint32(reader) >= budget.unixFds)',
        replace: 'if (readUint32(reader) < 0)',
      },
    ],
  },
  {
    row: 4,
    file: '04-descriptor-index',
    pattern: 'the connection is dropped: (more claimed|254|2³² − 1 claimed)',
    defence: 'no message claims descriptors that did not come',
    edits: [
      {
        source: 'core/wire/guard.ts',
        find: 'if (header.unixFds > Math.min(availableFds, MAX_FDS))',
        replace: 'if (availableFds < 0)',
      },
    ],
  },
  {
    row: 4,
    file: '04-descriptor-index',
    pattern: 'the connection is dropped: more came than claimed',
    defence: 'descriptors that no message claims end the connection',
    edits: [
      {
        source: 'daemon/transport/messages.ts',
        find: 'if (splitter.pendingBytes === 0 && pending.length > 0) throw',
        replace: 'if (pending.length < 0) throw',
      },
    ],
  },
  {
    row: 4,
    file: '04-descriptor-index',
    pattern: 'named twice',
    defence: 'a descriptor is given out once',
    edits: [{ source: 'core/kernel/fd.ts', find: 'if (fd) this.#fds[index] = undefined;', replace: '' }],
  },
  {
    row: 4,
    file: '04-descriptor-index',
    pattern: 'nobody names',
    defence: 'what no method takes is closed',
    edits: [{ source: 'daemon/dispatch.ts', find: 'using _unclaimed = fds;', replace: '' }],
  },
  {
    row: 15,
    file: '15-digest-not-checked',
    pattern: 'is refused: (one|two|twice)',
    defence: 'a digest has exactly the length of its algorithm',
    edits: [{ source: 'core/image/digest.ts', find: 'if (hex.length !== wanted)', replace: 'if (hex.length === 0)' }],
  },
  {
    row: 15,
    file: '15-digest-not-checked',
    pattern: 'is refused: upper case',
    defence: 'a digest has one spelling',
    edits: [
      {
        source: 'core/image/digest.ts',
        find: 'if (/^[0-9a-f]+$/.test(hex)) return;',
        replace: 'if (/^[0-9a-f]+$/i.test(hex)) return;',
      },
    ],
  },
  {
    row: 15,
    file: '15-digest-not-checked',
    pattern: 'option of MountFile is refused: empty',
    defence: 'an empty digest is not the same as none',
    edits: [
      {
        source: 'core/wire/requests.ts',
        find: 'digest: digestSchema.exactOptional(),',
        replace: 'digest: z.string().exactOptional(),',
      },
      {
        source: 'daemon/service.ts',
        find: 'if (expected === undefined || expected === actual) return;',
        replace: 'if (!expected || expected === actual) return;',
      },
      {
        source: 'daemon/service.ts',
        find: 'return digest === undefined ? useful : [digestAlgorithm(digest)];',
        replace: 'return digest ? [digestAlgorithm(digest)] : useful;',
      },
    ],
  },
  {
    row: 15,
    file: '15-digest-not-checked',
    pattern: 'not the image’s',
    defence: 'the expected digest is compared with the measured one',
    edits: [
      {
        source: 'daemon/service.ts',
        find: 'if (expected === undefined || expected === actual) return;',
        replace: 'if (actual !== undefined || expected) return;',
      },
    ],
  },
  {
    row: 5,
    file: '05-descriptor-type',
    pattern: 'as (file|store):',
    defence: 'a descriptor opened with O_PATH proves no right to read',
    edits: [{ source: 'daemon/descriptors.ts', find: 'if (flags & O_PATH) {', replace: 'if (flags < 0) {' }],
  },
  {
    row: 5,
    file: '05-descriptor-type',
    pattern: 'as file: what is not',
    defence: 'a file that is open for writing only is refused',
    edits: [{ source: 'daemon/descriptors.ts', find: 'if ((flags & O_ACCMODE) === O_WRONLY) {', replace: 'if (flags < 0) {' }],
  },
  {
    row: 5,
    file: '05-descriptor-type',
    pattern: 'as (checked )?file: what is not',
    defence: 'an image is a regular file',
    edits: [
      { source: 'daemon/descriptors.ts', find: "if (status.type !== 'file') throw", replace: 'if (flagless(status)) throw' },
      {
        source: 'daemon/descriptors.ts',
        find: 'export function requireDirectory',
        replace: 'const flagless = (status: FileStatus): boolean => status.size < 0;\n\nexport function requireDirectory',
      },
    ],
  },
  {
    row: 5,
    file: '05-descriptor-type',
    pattern: 'as second store',
    defence: 'a store is a directory',
    edits: [
      {
        source: 'daemon/descriptors.ts',
        find: "if (type !== 'directory') throw",
        replace: "if (type === 'socket' && argument === '') throw",
      },
    ],
  },
  {
    row: 5,
    file: '05-descriptor-type',
    pattern: 'as userns of MountImage',
    defence: 'a user namespace is one by the word of the kernel',
    edits: [
      {
        source: 'daemon/userns.ts',
        find: 'if (!isNamespaceFile(fd) || namespaceType(fd) !== CLONE_NEWUSER) {',
        replace: 'if (namespaceType(fd) === CLONE_NEWUSER + 1) {',
      },
    ],
  },
  {
    row: 9,
    file: '09-foreign-user-namespace',
    pattern: "another user's",
    defence: 'the namespace belongs to the caller',
    edits: [{ source: 'daemon/userns.ts', find: 'if (!owners.includes(callerUid)) {', replace: 'if (owners.includes(-1)) {' }],
  },
  {
    row: 9,
    file: '09-foreign-user-namespace',
    pattern: 'namespace of root|dead namespace',
    defence: "a namespace of root's belongs to nobody else",
    edits: [{ source: 'daemon/userns.ts', find: 'if (!owners.includes(callerUid)) {', replace: 'if (owners.includes(-1)) {' }],
  },
  {
    row: 9,
    file: '09-foreign-user-namespace',
    pattern: "host's own",
    defence: "the host's own namespace is nobody's",
    edits: [
      { source: 'daemon/userns.ts', find: 'if (!owners.includes(callerUid)) {', replace: 'if (owners.includes(-1)) {' },
      { source: 'daemon/userns.ts', find: 'if (owners.length === 0) {', replace: 'if (owners.includes(-1)) {' },
      { source: 'daemon/build-mount.ts', find: "if (!isErrno(error, 'EINVAL', 'EPERM')) throw error;", replace: 'throw error;' },
    ],
  },
  {
    row: 9,
    file: '09-foreign-user-namespace',
    pattern: 'without id maps',
    defence: 'a namespace without id maps takes no mount',
    edits: [
      { source: 'daemon/build-mount.ts', find: 'mountSetattr(mount, { set: MOUNT_ATTR_IDMAP, userns });', replace: '' },
      {
        source: 'daemon/methods/hand-out.ts',
        find: 'const locked = await service.parking.lock(built, userns.fd, userns.payer);',
        replace: 'const locked = built.mount.duplicate();',
      },
    ],
  },
  {
    row: 8,
    file: '08-writing-as-root',
    pattern: 'knows no option',
    defence: 'unknown options are errors',
    edits: [
      { source: 'core/wire/schemas.ts', find: 'if (known.includes(key)) return;', replace: "if (key !== '\\0') return;" },
      { source: 'core/wire/requests.ts', find: 'z.strictObject({\n    digest', replace: 'z.object({\n    digest' },
    ],
  },
  {
    row: 8,
    file: '08-writing-as-root',
    pattern: 'programs know',
    defence: 'no program can name an upper directory',
    edits: [
      {
        source: 'daemon/overlay.ts',
        find: "fsconfigString(context, 'metacopy', 'on');",
        replace: "fsconfigString(context, 'metacopy', 'on');\n  if (name === '') fsconfigString(context, 'upperdir', name);",
      },
    ],
  },
  {
    row: 8,
    file: '08-writing-as-root',
    pattern: 'nothing can be written',
    defence: 'a mount is read-only down to its superblock',
    edits: [
      { source: 'daemon/build-mount.ts', find: "  fsconfigFlag(context, 'ro');\n", replace: '' },
      {
        source: 'daemon/build-mount.ts',
        find: 'const mount = kept ? openTreeClone(kept) : mountErofs(image, header, attributes);',
        replace:
          "using tmpfs = fsopen('tmpfs');\n      fsconfigString(tmpfs, 'mode', '0777');\n      fsconfigCreate(tmpfs);\n      const mount = fsmount(tmpfs, 0);",
      },
    ],
  },
  {
    row: 10,
    file: '10-foreign-mount',
    pattern: 'lists its own',
    defence: 'a list shows a caller its own mounts',
    edits: [
      {
        source: 'daemon/methods/lists.ts',
        find: 'caller.uid === 0 || uid === caller.uid',
        replace: 'caller.uid >= 0 || uid === caller.uid',
      },
    ],
  },
  {
    row: 10,
    file: '10-foreign-mount',
    pattern: 'same erofs image',
    defence: 'each mount of an image has a superblock of its own',
    edits: [
      { source: 'daemon/methods/hand-out.ts', find: "if (header.type !== 'composefs' || !service", replace: 'if (!service' },
    ],
  },
  {
    row: 10,
    file: '10-foreign-mount',
    pattern: 'at its limit',
    defence: 'each user pays for its own mounts',
    edits: [
      {
        source: 'daemon/methods/hand-out.ts',
        find: 'service.accounts.reserve(userns.payer, limits)',
        replace: 'service.accounts.reserve(0, limits)',
      },
    ],
  },
  {
    row: 10,
    file: '10-foreign-mount',
    pattern: 'number of a mount',
    defence: 'a list has no options',
    edits: [
      { source: 'core/wire/schemas.ts', find: 'if (known.includes(key)) return;', replace: "if (key !== '\\0') return;" },
      {
        source: 'core/wire/requests.ts',
        find: 'const noOptions = optionsOf({}, z.strictObject({}));',
        replace: 'const noOptions = optionsOf({}, z.object({}));',
      },
    ],
  },
  {
    row: 11,
    file: '11-left-while-asked',
    pattern: 'while polkit hangs',
    defence: 'an answer counts only while the caller is there',
    edits: [
      {
        source: 'daemon/polkit.ts',
        find: 'timeout: patienceFor(caller), signal });',
        replace: 'timeout: patienceFor(caller), ...(signal.aborted && { signal }) });',
      },
      {
        source: 'daemon/polkit.ts',
        find: '  if (left.aborted || caller.isGone())',
        replace: '  if (left.aborted && caller.uid < 0)',
      },
    ],
  },
  {
    row: 11,
    file: '11-left-while-asked',
    pattern: 'polkit is told to forget it',
    defence: 'the question of a caller that left is taken back',
    edits: [{ source: 'daemon/polkit.ts', find: '    cancel(bus, polkit, question);', replace: '    void cancel;' }],
  },
  {
    row: 11,
    file: '11-left-while-asked',
    pattern: 'over bus',
    defence: 'names that leave the bus are watched',
    edits: [
      {
        source: 'daemon/transport/bus-connection.ts',
        find: "header.member !== 'NameOwnerChanged' || owner !== '') return;",
        replace: "header.member !== 'NameOwnerChanged' || owner !== '-') return;",
      },
    ],
  },
  {
    row: 11,
    file: '11-left-while-asked',
    pattern: 'outlives the process',
    defence: 'polkit is told of a process only while it lives',
    edits: [
      {
        source: 'daemon/polkit-subject.ts',
        find: "    if (startTime !== undefined && !waitReady(pidfd, 'readable', 0)) return { pid, startTime, pidfd };",
        replace: '    void waitReady;\n    return { pid, startTime: startTime ?? 1n, pidfd };',
      },
    ],
  },
  {
    row: 12,
    file: '12-unchecked-method',
    pattern: 'Mount1.MountImage',
    defence: 'MountImage asks the policy',
    edits: [
      {
        source: 'daemon/service.ts',
        find: "if (trust.verdict === 'deny') throw notTrusted(trust);",
        replace: "if (trust.verdict === 'deny') return { verdict: 'trusted', rule: 'none', asksCanonical: false };",
      },
      {
        source: 'daemon/service.ts',
        find: "if (decision.verdict === 'deny') throw notTrusted(decision);",
        replace:
          "if (decision.verdict === 'deny') return { verdict: 'allow', rule: 'none', nosuid: false, noexec: false, source: { file: '', line: 1 } };",
      },
    ],
  },
  {
    row: 12,
    file: '12-unchecked-method',
    pattern: 'Mount1.(MountFile|CheckFile)',
    defence: 'a caller without any rule is refused before its file is read',
    edits: [
      {
        source: 'daemon/service.ts',
        find: 'if (algorithms.length > 0) return algorithms;',
        replace: "if (algorithms.length >= 0) return ['sha256'];",
      },
    ],
  },
  {
    row: 12,
    file: '12-unchecked-method',
    pattern: 'Mount1.CheckImage',
    defence: 'a stranger learns nothing of the images of a repository',
    edits: [
      {
        source: 'daemon/methods/check.ts',
        find: 'openRepositoryImage(service, request, caller, caller.uid !== 0)',
        replace: 'openRepositoryImage(service, request, caller, false)',
      },
    ],
  },
  {
    row: 12,
    file: '12-unchecked-method',
    pattern: 'Mount1.ListImages',
    defence: 'ListImages shows what the caller may mount',
    edits: [
      { source: 'daemon/methods/lists.ts', find: "if (trust.verdict === 'deny' && caller.uid !== 0) return [];", replace: '' },
    ],
  },
  {
    row: 12,
    file: '12-unchecked-method',
    pattern: 'Mount1.ListMounts',
    defence: 'ListMounts shows the caller its own',
    edits: [
      {
        source: 'daemon/methods/lists.ts',
        find: 'caller.uid === 0 || uid === caller.uid',
        replace: 'caller.uid >= 0 || uid === caller.uid',
      },
    ],
  },
  {
    row: 12,
    file: '12-unchecked-method',
    pattern: 'Mount1.Reload|is not root|may be left out',
    defence: 'Reload is for root',
    edits: [{ source: 'daemon/dispatch.ts', find: '    requireRoot(member, caller);\n', replace: '' }],
  },
  {
    row: 12,
    file: '12-unchecked-method',
    pattern: 'the table here',
    defence: 'a new method has to be named in the test',
    edits: [
      {
        source: 'core/wire/contract.ts',
        find: "member('Reload', '', '', true),",
        replace: "member('Reload', '', '', true),\n    member('Debug', '', 's text'),",
      },
    ],
  },
  {
    row: 12,
    file: '12-unchecked-method',
    pattern: 'none can be set',
    defence: 'no property can be set',
    edits: [
      {
        source: 'daemon/standard-interfaces.ts',
        find: "throw new StandardError('PropertyReadOnly', 'the properties cannot be set');",
        replace: 'return NONE;',
      },
    ],
  },
  {
    row: 12,
    file: '12-unchecked-method',
    pattern: 'names no user',
    defence: 'properties say nothing of rules and paths',
    edits: [
      {
        source: 'daemon/standard-interfaces.ts',
        find: "Features: variant('as', [...service.features]),",
        replace: "Features: variant('as', service.current().repositories.map(({ path }) => path)),",
      },
    ],
  },
  {
    row: 13,
    file: '13-repository-escape',
    pattern: 'not followed: images/<digest> → (an abs|../../|../obj)',
    defence: 'a symlink in images/ has one form and nothing else is followed',
    edits: [
      {
        source: 'daemon/repositories.ts',
        find: 'const object = /^\\.\\.\\/(objects\\/[0-9a-f]{2}\\/[0-9a-f]{62,126})$/.exec(target)?.[1];',
        replace: "const object = target.startsWith('/') ? target : `images/${target}`;",
      },
      { source: 'core/kernel/file.ts', find: 'RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS', replace: '0' },
    ],
  },
  {
    row: 13,
    file: '13-repository-escape',
    pattern: 'not followed: (objects/xx|the object is a symlink)',
    defence: 'no symlink is followed on the way to an object',
    edits: [
      { source: 'core/kernel/file.ts', find: 'RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS', replace: '0' },
    ],
  },
  {
    row: 13,
    file: '13-repository-escape',
    pattern: 'a directory of refs',
    defence: 'no symlink is followed on the way to a ref',
    edits: [
      { source: 'core/kernel/file.ts', find: 'RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS', replace: '0' },
    ],
  },
  {
    row: 13,
    file: '13-repository-escape',
    pattern: 'by a way around',
    defence: 'a ref leads back to images/ and to one digest there',
    edits: [
      {
        source: 'daemon/repositories.ts',
        find: 'return target?.startsWith(up) ? digestOfHex(target.slice(up.length)) : undefined;',
        replace: "return target ? digestOfHex(target.slice(target.lastIndexOf('/') + 1)) : undefined;",
      },
    ],
  },
  {
    row: 13,
    file: '13-repository-escape',
    pattern: 'is a (FIFO|directory|device)',
    defence: 'an image is a regular file',
    edits: [
      { source: 'daemon/repositories.ts', find: "regular = statFd(file).type === 'file';", replace: 'regular = file.isOpen;' },
    ],
  },
  {
    row: 13,
    file: '13-repository-escape',
    pattern: 'the object is a FIFO',
    defence: 'opening what is in a repository never waits',
    edits: [
      {
        source: 'daemon/repositories.ts',
        find: 'file = openBeneath(root, path, O_RDONLY | O_NONBLOCK);',
        replace: 'file = openBeneath(root, path, O_RDONLY);',
      },
    ],
  },
  {
    row: 13,
    file: '13-repository-escape',
    pattern: 'bad name is a bad request: (out|..|abs|dot|not)',
    defence: 'names are made of few characters',
    edits: [
      {
        source: 'core/wire/image-name.ts',
        find: 'if (!components.every((component) => COMPONENT.test(component))) {',
        replace: 'if (components.length === 0) {',
      },
    ],
  },
  {
    row: 13,
    file: '13-repository-escape',
    pattern: 'bytes',
    defence: 'names have a length',
    edits: [{ source: 'core/wire/image-name.ts', find: "text === '' || text.length > MAX_NAME_BYTES", replace: "text === ''" }],
  },
  {
    row: 6,
    file: '06-image-changed',
    pattern: 'the mount shows the trusted bytes',
    defence: 'a private copy is mounted, not the file of the caller',
    edits: [
      {
        source: 'daemon/measure.ts',
        find: 'const { file: copy, done } = createOrClose(file, size, user);',
        replace:
          "if (size >= 0) return { file: file.duplicate(), digest: await hash(file, null, size, algorithm, user), verified: 'copy' };\n    const { file: copy, done } = createOrClose(file, size, user);",
      },
    ],
  },
  {
    row: 6,
    file: '06-image-changed',
    pattern: 'a race over',
    defence: 'a private copy is mounted, also in a race',
    edits: [
      {
        source: 'daemon/measure.ts',
        find: 'const { file: copy, done } = createOrClose(file, size, user);',
        replace:
          "if (size >= 0) return { file: file.duplicate(), digest: await hash(file, null, size, algorithm, user), verified: 'copy' };\n    const { file: copy, done } = createOrClose(file, size, user);",
      },
    ],
  },
  {
    row: 6,
    file: '06-image-changed',
    pattern: 'a race over',
    defence: 'the bytes that are hashed are the bytes that are copied',
    edits: [
      {
        source: 'daemon/worker/copy.ts',
        find: 'hasher.update(chunk);',
        replace: 'readAt(file, chunk, offset);\n    hasher.update(chunk);',
      },
    ],
  },
  {
    row: 6,
    file: '06-image-changed',
    pattern: 'tmpfs of its own',
    defence: 'a private copy is mounted, also of a file on a tmpfs',
    edits: [
      {
        source: 'daemon/measure.ts',
        find: 'const { file: copy, done } = createOrClose(file, size, user);',
        replace:
          "if (size >= 0) return { file: file.duplicate(), digest: await hash(file, null, size, algorithm, user), verified: 'copy' };\n    const { file: copy, done } = createOrClose(file, size, user);",
      },
    ],
  },
  {
    row: 6,
    file: '06-image-changed',
    pattern: 'ends while it is read',
    defence: 'a file that ends early is an error that says so',
    edits: [
      {
        source: 'daemon/measure.ts',
        find: "throw new RequestError('BadImage', 'the image could not be read to its end', { cause: error });",
        replace: 'throw error;',
      },
    ],
  },
  {
    row: 6,
    file: '06-image-changed',
    pattern: 'already holds other bytes',
    defence: 'trust is asked for what was measured',
    edits: [
      {
        source: 'daemon/methods/open-image.ts',
        find: 'return opened(service, measured, options, { repositories });\n}',
        replace:
          'return opened(service, { ...measured, digest: digest ?? trustedDigest(service) }, options, { repositories });\n}\n\nconst trustedDigest = (service: Service) => service.current().policy.rules.flatMap((rule) => [...rule.digests])[0]!;',
      },
    ],
  },
  {
    row: 7,
    file: '07-reading-as-root',
    pattern: 'not read: (a directory anybody|a directory of its own|the second)',
    defence: 'objects of a caller are held to their digests by the kernel',
    edits: [
      {
        source: 'daemon/methods/stores.ts',
        find: 'for (const directory of requireVerity ? stores : []) await requireVerityOf(service, directory, user);',
        replace: '',
      },
      {
        source: 'daemon/methods/stores.ts',
        find: 'const all = ownStores(stores, requireVerity);',
        replace: 'const all = ownStores(stores, false);',
      },
    ],
  },
  {
    row: 7,
    file: '07-reading-as-root',
    pattern: 'not read: (a directory that only root may enter, by|the same, cloned|the same bound)',
    defence: 'an O_PATH descriptor of a closed directory is refused',
    edits: [
      {
        source: 'daemon/methods/stores.ts',
        find: 'for (const directory of requireVerity ? stores : []) await requireVerityOf(service, directory, user);',
        replace: '',
      },
      {
        source: 'daemon/methods/stores.ts',
        find: 'const all = ownStores(stores, requireVerity);',
        replace: 'const all = ownStores(stores, false);',
      },
      { source: 'daemon/descriptors.ts', find: 'if (flags & O_PATH) {', replace: 'if (flags < 0) {' },
    ],
  },
  {
    row: 7,
    file: '07-reading-as-root',
    pattern: 'no mount without fs-verity',
    defence: 'a store without fs-verity is refused before anything is mounted',
    edits: [
      {
        source: 'daemon/methods/stores.ts',
        find: 'for (const directory of requireVerity ? stores : []) await requireVerityOf(service, directory, user);',
        replace: '',
      },
    ],
  },
  {
    row: 7,
    file: '07-reading-as-root',
    pattern: 'proves no right',
    defence: 'descriptors that prove no right to read are refused',
    edits: [{ source: 'daemon/descriptors.ts', find: 'if (flags & O_PATH) {', replace: 'if (flags < 0) {' }],
  },
  {
    row: 7,
    file: '07-reading-as-root',
    pattern: "not read: after the service's own store",
    defence: 'one trusted store does not vouch for the next',
    edits: [
      {
        source: 'daemon/methods/stores.ts',
        find: 'return !own.every(',
        replace: 'return !own.some(',
      },
    ],
  },
  {
    row: 7,
    file: '07-reading-as-root',
    pattern: 'kernel already refuses',
    defence: 'a store of the caller is refused, whatever is in it',
    edits: [
      {
        source: 'daemon/methods/stores.ts',
        find: 'for (const directory of requireVerity ? stores : []) await requireVerityOf(service, directory, user);',
        replace: '',
      },
      {
        source: 'daemon/methods/stores.ts',
        find: 'const all = ownStores(stores, requireVerity);',
        replace: 'const all = ownStores(stores, false);',
      },
    ],
  },
  {
    row: 7,
    file: '07-reading-as-root',
    pattern: 'repository that must be checked',
    defence: 'a repository whose objects must be checked is refused where they cannot be',
    edits: [
      {
        source: 'daemon/methods/stores.ts',
        find: "if (measureVerity(objects).state === 'unsupported') throw noVerity('the image repository');",
        replace: 'void objects;',
      },
    ],
  },
  {
    row: 7,
    file: '07-reading-as-root',
    pattern: 'had for its digest',
    defence: 'a copy is for those who have shown the same bytes',
    edits: [{ source: 'daemon/copies.ts', find: ' || !shownBy.get(digest)?.has(payer)', replace: '' }],
  },
];
