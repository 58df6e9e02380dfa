// Defences that the tests of what is in an image need (rows 3, 14, 17 and 28), and of policy files (row 27).
import type { Defence, Edit } from '../support/mutant.js';

/** Images are mounted unread. */
const UNREAD: Edit = {
  source: 'daemon/methods/judge-image.ts',
  find: '  return service.facts.find(image, { canonical: asksCanonical, user });',
  replace: `  void [image, asksCanonical, user];
  return { entries: 1, devices: 0, setUid: 0, setGid: 0, fileCapabilities: 0, largestUid: 0, largestGid: 0, unpinned: 0, misdirected: 0, escaping: 0, canonical: undefined };`,
};

const READER_TAKES_FORGED_MARKS: readonly Edit[] = [
  {
    source: 'core/image/restore.ts',
    find: '  if ((metacopy !== undefined) !== (inode.layout === CHUNKS))',
    replace: '  if (inode.layout === CHUNKS && metacopy === undefined)',
  },
  { source: 'core/image/restore.ts', find: '    if (redirect !== undefined) throw', replace: '    if (inode.layout > 99) throw' },
];

export const DEFENCES_3: readonly Defence[] = [
  {
    row: 3,
    file: '03-device-nodes',
    pattern: 'refused unless',
    defence: 'rules deny device nodes unless they say otherwise',
    edits: [{ source: 'policy/load-rule.ts', find: "entry.devices ?? 'deny'", replace: "entry.devices ?? 'allow'" }],
  },
  {
    row: 3,
    file: '03-device-nodes',
    pattern: 'refused unless .* plain image',
    defence: 'device nodes of plain images are counted',
    edits: [
      {
        source: 'core/image/erofs-facts.ts',
        find: 'countInode(facts, { mode, uid,',
        replace: 'countInode(facts, { mode: mode & 0x8fff, uid,',
      },
    ],
  },
  {
    row: 3,
    file: '03-device-nodes',
    pattern: 'refused unless .* composefs image',
    defence: 'device nodes of composefs images are counted',
    edits: [
      {
        source: 'core/image/facts.ts',
        find: 'countInode(facts, { mode, rdev,',
        replace: 'countInode(facts, { mode: mode & 0x8fff, rdev,',
      },
    ],
  },
  {
    row: 3,
    file: '03-device-nodes',
    pattern: 'refused unless',
    defence: 'the image is judged before it is mounted',
    edits: [UNREAD],
  },
  {
    row: 3,
    file: '03-device-nodes',
    pattern: 'none of the nodes opens',
    defence: 'a mount is nodev, whatever a rule says of device nodes',
    edits: [
      {
        source: 'daemon/build-mount.ts',
        find: 'ALWAYS = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV',
        replace: 'ALWAYS = MOUNT_ATTR_RDONLY',
      },
    ],
  },
  {
    row: 14,
    file: '14-redirect-escape',
    pattern: 'does not see it: (one|up|nothing|an|a )',
    defence: 'redirects that do not plainly stay in the store are refused',
    edits: [{ source: 'daemon/methods/judge-image.ts', find: '  if (escaping > 0)', replace: '  if (escaping < 0)' }],
  },
  {
    row: 14,
    file: '14-redirect-escape',
    pattern: 'does not see it: relative',
    defence: 'the reader refuses redirects that do not start with a slash',
    edits: [
      {
        source: 'core/image/restore.ts',
        find: "if (!redirect.startsWith('/') || redirect.length < 2)",
        replace: 'if (redirect.length < 2)',
      },
    ],
  },
  {
    row: 14,
    file: '14-redirect-escape',
    pattern: 'have to prove what they are: (a |below|nothing|no redirect)',
    defence: 'where objects have to prove what they are, each file points to the place of its digest',
    edits: [{ source: 'daemon/methods/judge-image.ts', find: '  if (misdirected > 0)', replace: '  if (misdirected < 0)' }],
  },
  {
    row: 14,
    file: '14-redirect-escape',
    pattern: 'have to prove what they are: no digest',
    defence: 'where objects have to prove what they are, each file has a digest',
    edits: [
      { source: 'daemon/methods/judge-image.ts', find: '  if (unpinned > 0)', replace: '  if (unpinned < 0)' },
      { source: 'daemon/methods/judge-image.ts', find: '  if (misdirected > 0)', replace: '  if (misdirected < 0)' },
    ],
  },
  {
    row: 17,
    file: '17-malicious-erofs',
    pattern: 'the kernel never sees them',
    defence: 'an image is read before it is mounted',
    edits: [UNREAD],
  },
  {
    row: 17,
    file: '17-malicious-erofs',
    pattern: 'the kernel never sees them',
    defence: 'an image that the readers refuse is refused',
    edits: [
      {
        source: 'daemon/facts.ts',
        find: "  if ('refused' in answer) throw badImage(answer.refused);\n",
        replace: "  if ('refused' in answer && answer.refused === '') throw badImage(answer.refused);\n",
      },
      { source: 'daemon/facts.ts', find: '  return answer;\n}', replace: '  return answer as T;\n}' },
    ],
  },
  {
    row: 17,
    file: '17-malicious-erofs',
    pattern: 'the kernel never sees them',
    defence: 'a directory of a plain image is reached once',
    edits: [
      {
        source: 'core/image/erofs-facts.ts',
        find: "      if (mode >> 12 === DIR) throw new FormatError('directory-twice', 'a directory has two names, or holds itself');\n",
        replace: '',
      },
    ],
  },
  {
    row: 27,
    file: '27-policy-mistakes',
    pattern: 'writable by everybody|writable by a group|somebody else',
    defence: "policy files are root's alone",
    edits: [{ source: 'policy/files/read-policy.ts', find: '  if (why) refuse(path, why);\n', replace: '' }],
  },
  {
    row: 27,
    file: '27-policy-mistakes',
    pattern: 'the directory is writable|the directory belongs',
    defence: "policy directories are root's alone",
    edits: [
      {
        source: 'policy/files/directories.ts',
        find: "'is a file; make it a directory' : whyReplaceable(directory)",
        replace: "'is a file' : undefined",
      },
      {
        source: 'policy/files/directories.ts',
        find: "import { whyReplaceable } from '../../core/kernel/trusted-path.js';\n",
        replace: '',
      },
      { source: 'policy/files/read-policy.ts', find: '  if (why) refuse(path, why);\n', replace: '' },
    ],
  },
  {
    row: 27,
    file: '27-policy-mistakes',
    pattern: 'a link (out|to another)',
    defence: 'policy files are no links',
    edits: [
      { source: 'policy/files/read-policy.ts', find: "  if (type === 'symlink')", replace: "  if (type === 'socket')" },
      { source: 'policy/files/read-policy.ts', find: "  if (type !== 'file') refuse", replace: "  if (type === 'fifo') refuse" },
      {
        source: 'core/kernel/trusted-path.ts',
        find: "  if (status.type === 'symlink') return `${path} is a symbolic link`;\n",
        replace: '',
      },
      { source: 'core/kernel/trusted-path.ts', find: '  const own = writers(status);\n', replace: '  const own = undefined;\n' },
    ],
  },
  {
    row: 27,
    file: '27-policy-mistakes',
    pattern: 'a good file beside a broken one|an unknown user',
    defence: 'one problem refuses all files',
    edits: [
      {
        source: 'policy/load.ts',
        find: '  if (draft.problems.length > 0) throw new PolicyError(draft.problems);\n',
        replace: '',
      },
    ],
  },
  {
    row: 27,
    file: '27-policy-mistakes',
    pattern: 'an unknown key|a key with an underscore',
    defence: 'unknown keys of rules are refused',
    edits: [{ source: 'policy/schema.ts', find: 'const rule = z.strictObject(', replace: 'const rule = z.object(' }],
  },
  {
    row: 27,
    file: '27-policy-mistakes',
    pattern: 'names of a repository',
    defence: "names are believed only in repositories of root's alone",
    edits: [{ source: 'policy/load.ts', find: '  requireTrustedRepositories(draft);\n', replace: '' }],
  },
  {
    row: 28,
    file: '28-trusted-xattrs',
    pattern: 'marks that no writer makes',
    defence: 'the reader refuses marks of overlayfs on what has no object',
    edits: READER_TAKES_FORGED_MARKS,
  },
  {
    row: 28,
    file: '28-trusted-xattrs',
    pattern: 'nothing but data',
    defence: "the service's overlay does not obey user.*",
    edits: [
      { source: 'daemon/overlay.ts', find: 'fsconfigFd, fsconfigString', replace: 'fsconfigFd, fsconfigFlag, fsconfigString' },
      {
        source: 'daemon/overlay.ts',
        find: "  fsconfigString(context, 'metacopy', 'on');\n  fsconfigString(context, 'redirect_dir', 'on');\n",
        replace: "  fsconfigFlag(context, 'userxattr');\n",
      },
    ],
  },
  {
    row: 19,
    file: '19-bus-flood',
    defence: 'the bus is read however many calls are under way',
    edits: [
      {
        source: 'daemon/transport/peer.ts',
        find: '    const { sender } = message.header;\n    count(sender, 1);\n',
        replace:
          '    const { sender } = message.header;\n    count(sender, 1);\n    stream.pauseReading(total >= limits.total);\n',
      },
      {
        source: 'daemon/transport/peer.ts',
        find: '    if ((underWay.get(sender) ?? 0) >= limits.perSender) return',
        replace: '    if (total > 4 * limits.total) return',
      },
      {
        source: 'daemon/transport/peer.ts',
        find: '    return total >= limits.total ? busy',
        replace: '    return total > 4 * limits.total ? busy',
      },
    ],
  },
  {
    row: 26,
    file: '26-polkit-questions',
    pattern: 'so many questions',
    defence: 'questions to polkit are counted',
    edits: [{ source: 'daemon/questions.ts', find: 'const MAX_PER_USER = 4;', replace: 'const MAX_PER_USER = 400;' }],
  },
  {
    row: 27,
    file: '27-deny-evasion',
    defence: 'rules that deny look at who is behind the caller',
    edits: [
      {
        source: 'policy/matching.ts',
        find: ' || (rule.deny && caller.behind !== undefined && names(rule, caller.behind))',
        replace: '',
      },
    ],
  },
  {
    row: 27,
    file: '27-trust-taken-back',
    pattern: 'revoked while',
    defence: 'signatures are judged again before the mount is handed out',
    edits: [
      {
        source: 'daemon/methods/judge-image.ts',
        find: 'judgedImage(image, facts, findSigners(service.current(), image.digest, options))',
        replace: 'judgedImage(image, facts)',
      },
    ],
  },
];
