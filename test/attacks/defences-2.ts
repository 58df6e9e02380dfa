// Longer than 300 lines: one table, an entry after the other.
// Defences that the tests of the second half of the table of threats need (rows 16 and 18 on).
import type { Defence } from '../support/mutant.js';

export const DEFENCES_2: readonly Defence[] = [
  {
    row: 16,
    file: '16-stacked-options',
    pattern: 'every method: a comma$',
    defence: 'names are of harmless characters only',
    edits: [
      {
        source: 'core/wire/image-name.ts',
        find: 'if (!components.every((component) => COMPONENT.test(component))) {',
        replace: 'if (components.length === 0) {',
      },
    ],
  },
  {
    row: 16,
    file: '16-stacked-options',
    pattern: 'name of an option',
    defence: 'unknown options are errors',
    edits: [
      { source: 'core/wire/schemas.ts', find: 'if (known.includes(key)) return;', replace: 'if (known.length >= 0) return;' },
      {
        source: 'core/wire/requests.ts',
        find: `  z.strictObject({
    digest: digestSchema.exactOptional(),`,
        replace: `  z.object({
    digest: digestSchema.exactOptional(),`,
      },
    ],
  },
  {
    row: 18,
    file: '18-fd-exhaustion',
    pattern: 'half-sent messages that hold descriptors',
    defence: 'a peer keeps no more descriptors waiting than a call can use',
    edits: [{ source: 'daemon/transport/direct.ts', find: 'maxPendingFds: MAX_CALL_FDS,', replace: 'maxPendingFds: 253,' }],
  },
  {
    row: 18,
    file: '18-fd-exhaustion',
    pattern: 'no message claims',
    defence: 'descriptors that belong to no message end the connection',
    edits: [
      {
        source: 'daemon/transport/messages.ts',
        find: 'if (splitter.pendingBytes === 0 && pending.length > 0)',
        replace: 'if (splitter.pendingBytes < 0)',
      },
    ],
  },
  {
    row: 18,
    file: '18-fd-exhaustion',
    pattern: 'during authentication',
    defence: 'descriptors sent before authentication are closed',
    edits: [
      {
        source: 'daemon/transport/direct.ts',
        find: `      for (const fd of fds) fd.close();
      if (fds.length > 0) throw new Error('descriptors sent before authentication');`,
        replace: '',
      },
    ],
  },
  {
    row: 18,
    file: '18-fd-exhaustion',
    pattern: 'refused by the hundred',
    defence: 'what a method did not take is closed',
    edits: [{ source: 'daemon/dispatch.ts', find: '    using _unclaimed = fds;\n', replace: '' }],
  },
  {
    row: 19,
    file: '19-slow-peers',
    pattern: 'more connections than its share',
    defence: 'connections are counted for each user',
    edits: [
      {
        source: 'daemon/transport/direct.ts',
        find: 'if (ofUser(payer).length >= limits.connectionsPerUser) return false;',
        replace: '',
      },
    ],
  },
  {
    row: 19,
    file: '19-slow-peers',
    pattern: 'does not authenticate in time',
    defence: 'authentication has a time-out',
    edits: [{ source: 'daemon/transport/direct.ts', find: 'handshakeTimeout: 10_000', replace: 'handshakeTimeout: 1_000_000' }],
  },
  {
    row: 19,
    file: '19-slow-descriptors',
    pattern: 'lingers, (before|as the|in a call|that no|in half)',
    defence: 'what a caller sent is closed by a thread that the caller pays for',
    edits: [{ source: 'daemon/transport/direct.ts', find: '      callerFds.closerFor(() => payer),\n', replace: '' }],
  },
  {
    row: 19,
    file: '19-slow-descriptors',
    pattern: 'never answered, before authentication',
    defence: 'a file of a caller’s own file system is closed there, too',
    edits: [{ source: 'daemon/transport/direct.ts', find: '      callerFds.closerFor(() => payer),\n', replace: '' }],
  },
  {
    row: 19,
    file: '19-slow-descriptors',
    pattern: 'end the connection|connection too many',
    defence: 'a connection that may hold descriptors is closed there, too',
    edits: [
      {
        source: 'daemon/transport/direct.ts',
        find: '    socket.closeBy(callerFds.connectionCloserFor(payer));\n',
        replace: '',
      },
    ],
  },
  {
    row: 19,
    file: '19-slow-descriptors',
    pattern: 'out of band',
    defence: 'no byte is thrown away with its descriptors',
    edits: [{ source: 'core/kernel/socket.ts', find: '    takeUrgentInline(socket);\n', replace: '' }],
  },
  {
    row: 19,
    file: '19-slow-descriptors',
    pattern: 'over the bus',
    defence: 'what came over the bus is closed elsewhere, too',
    edits: [
      {
        source: 'daemon/start.ts',
        find: 'callerFds.closerFor(busPayer(callerFds))',
        replace: '(fd) => (busPayer(callerFds), OwnedFd.adopt(fd).close())',
      },
    ],
  },
  {
    row: 19,
    file: '19-slow-descriptors',
    pattern: 'is refused until it is closed',
    defence: 'whoever makes a close hang may send no more',
    edits: [{ source: 'daemon/closer.ts', find: 'onLate: () => stuck.add(payer)', replace: 'onLate: () => {}' }],
  },
  {
    row: 19,
    file: '19-slow-descriptors',
    pattern: 'before it is much',
    defence: 'what waits to be closed is bounded',
    edits: [{ source: 'daemon/closer.ts', find: 'const MAX_WAITING = 1_024;', replace: 'const MAX_WAITING = 1_000_000;' }],
  },
  {
    row: 19,
    file: '19-slow-descriptors',
    pattern: 'before it is much',
    defence: 'whoever has too much waiting to be closed is not received of',
    edits: [{ source: 'daemon/transport/direct.ts', find: '{ mayReceive, onData', replace: '{ onData' }],
  },
  {
    row: 19,
    file: '19-slow-descriptors',
    pattern: 'while two users',
    defence: 'a thread that hangs in a close is replaced',
    edits: [{ source: 'daemon/closer.ts', find: 'const CLOSE_TIMEOUT = 1_000;', replace: 'const CLOSE_TIMEOUT = 1_000_000;' }],
  },
  {
    row: 19,
    file: '19-slow-descriptors',
    pattern: 'closing that ends with EINTR',
    defence: 'a close that was interrupted is not repeated',
    edits: [
      {
        source: 'core/kernel/libc.ts',
        find: '  closeNative(openNumber(fd));',
        replace: '  if (closeNative(fd) < 0 && koffi.errno() === EINTR) closeNumber(fd);',
      },
    ],
  },
  {
    row: 19,
    file: '19-slow-descriptors',
    pattern: 'closing that ends with EIO',
    defence: 'a close that fails is none of our failures',
    edits: [
      {
        source: 'core/kernel/libc.ts',
        find: '  closeNative(openNumber(fd));',
        replace: "  if (closeNative(fd) < 0) throw new SyscallError('close', koffi.errno());",
      },
    ],
  },
  {
    row: 19,
    file: '19-slow-peers',
    pattern: 'under many ids, has no more',
    defence: 'a user under many ids is one user',
    edits: [
      { source: 'daemon/transport/direct.ts', find: 'payer = payerOfPeer(socket, peer.uid);', replace: 'payer = peer.uid;' },
    ],
  },
  {
    row: 19,
    file: '19-slow-peers',
    pattern: 'all dead before they are seen',
    defence: 'peers that are dead already are one user',
    edits: [{ source: 'daemon/userns.ts', find: 'return NOBODY_KNOWN; // it has gone', replace: 'return uid; // ESRCH' }],
  },
  {
    row: 19,
    file: '19-slow-peers',
    pattern: 'never read, checked',
    defence: 'a check is paid for by the owner of the outermost user namespace',
    edits: [
      { source: 'daemon/methods/check.ts', find: 'request, caller, caller.payer)', replace: 'request, caller, caller.uid)' },
    ],
  },
  {
    row: 19,
    file: '19-floods',
    pattern: 'made and dropped',
    defence: 'connections are taken in a few at a time',
    edits: [{ source: 'daemon/transport/direct.ts', find: 'ACCEPTS_PER_TURN = 16', replace: 'ACCEPTS_PER_TURN = 1_000_000_000' }],
  },
  {
    row: 19,
    file: '19-floods',
    pattern: 'so short',
    defence: 'a peer is read a little at a time, and let go for far too many calls',
    edits: [
      { source: 'daemon/transport/stream.ts', find: 'READ_SIZE = 8 * 1024', replace: 'READ_SIZE = 1024 * 1024' },
      { source: 'daemon/transport/peer.ts', find: 'HARD_LIMIT = 4', replace: 'HARD_LIMIT = 1_000_000' },
    ],
  },
  {
    row: 19,
    file: '19-floods',
    pattern: 'take long',
    defence: 'calls of one user are bounded over all its connections',
    edits: [{ source: 'daemon/dispatch.ts', find: 'count >= MAX_CALLS_PER_USER', replace: 'count < 0' }],
  },
  {
    row: 19,
    file: '19-floods',
    pattern: 'each is looked up in',
    defence: 'the groups of a peer are read once for all calls of a chunk',
    edits: [
      {
        source: 'daemon/transport/direct.ts',
        find: 'open ? groupsOf(socket, peer)',
        replace: 'open ? [peer.gid, ...peerGroups(socket)]',
      },
    ],
  },
  {
    row: 19,
    file: '19-floods',
    pattern: 'by the last of them',
    defence: 'there is room for all groups of a peer',
    edits: [{ source: 'core/kernel/socket.ts', find: "if (!isErrno(error, 'ERANGE')) throw error;", replace: 'throw error;' }],
  },
  {
    row: 19,
    file: '19-floods',
    pattern: 'no more memory',
    defence: 'the groups of a peer are not kept with its connection',
    edits: [
      {
        source: 'daemon/transport/direct.ts',
        find: `      get gids() {
        return open ? groupsOf(socket, peer) : [peer.gid];
      },`,
        replace: '      gids,',
      },
      {
        source: 'daemon/transport/direct.ts',
        find: '    const stream = openStream(\n',
        replace: '    const gids = [peer.gid, ...peerGroups(socket)];\n    const stream = openStream(\n',
      },
    ],
  },
  {
    row: 20,
    file: '20-hostile-message',
    pattern: 'types of no bytes.*direct socket',
    defence: 'the body of a message is walked before a parser sees it',
    edits: [
      {
        source: 'core/wire/guard.ts',
        find: '    checkBody(message, framing, header.signature, { ...budget, unixFds: header.unixFds });\n',
        replace: '',
      },
    ],
  },
  {
    row: 20,
    file: '20-hostile-message',
    pattern: 'through the bus',
    defence: 'a bad message from the bus is answered, and does not end the connection',
    edits: [
      {
        source: 'daemon/transport/bus-connection.ts',
        find: ', onBadMessage: answerBadMessage }',
        replace: ' }',
      },
      {
        source: 'daemon/transport/bus-connection.ts',
        find: '  function answerBadMessage(',
        replace: '  function _answerBadMessage(',
      },
    ],
  },
  {
    row: 20,
    file: '20-hostile-message',
    pattern: 'bus that goes away',
    defence: 'the loss of the bus is no fault of a peer',
    edits: [
      {
        source: 'daemon/transport/bus-connection.ts',
        find: 'if (authenticated) setImmediate(() => events.onLost(reason));',
        replace: 'if (authenticated) events.onLost(reason);',
      },
    ],
  },
  {
    row: 21,
    file: '21-error-path-leak',
    pattern: '^statx .*fails',
    defence: "a repository's file is closed when it cannot be measured",
    edits: [
      {
        source: 'daemon/measure.ts',
        find: "return { file, digest: await hashInPlace(file, algorithm, user), verified: 'copy' };\n      } catch (error) {\n        file.close();",
        replace: "return { file, digest: await hashInPlace(file, algorithm, user), verified: 'copy' };\n      } catch (error) {",
      },
    ],
  },
  {
    row: 21,
    file: '21-error-path-leak',
    pattern: '^umount2 .*fails',
    defence: 'a mount does not stay in the stage when taking it down fails once',
    edits: [
      {
        source: 'daemon/worker/worker.ts',
        find: 'after: () => takeDown(stage, job.name)',
        replace: 'after: () => clearStage(stage, job.name)',
      },
    ],
  },
  {
    row: 21,
    file: '21-error-path-leak',
    pattern: 'pipes of the helper',
    defence: 'a helper that cannot be started is an error of one request',
    edits: [
      {
        source: 'daemon/parking.ts',
        find: `    child.once('error', reject);
    child.stdout?.once('data', () => resolve());`,
        replace: `    child.stdout!.once('data', () => resolve());
    child.once('error', reject);`,
      },
    ],
  },
  {
    row: 22,
    file: '22-crash-mid-mount',
    pattern: 'killed at linkat',
    defence: 'a copy has no name until it is whole',
    edits: [
      {
        source: 'core/kernel/file.ts',
        find: "return openat2(directory.raw, '.', O_TMPFILE | O_RDWR, 0o600, RESOLVE_BENEATH);",
        replace: 'return openat2(directory.raw, `partial-${process.hrtime.bigint()}`, O_CREAT | O_RDWR, 0o600, RESOLVE_BENEATH);',
      },
    ],
  },
  {
    row: 23,
    file: '23-helper-stopped',
    pattern: '^stopped',
    defence: 'the helper has a time-out',
    edits: [{ source: 'daemon/parking.ts', find: 'const HELPER_TIMEOUT = 5_000;', replace: 'const HELPER_TIMEOUT = 500_000;' }],
  },
  {
    row: 24,
    file: '24-helper-traced',
    pattern: 'as it stands in the namespace',
    defence: 'the helper takes ids of the namespace',
    edits: [
      {
        source: 'core/kernel/park.c',
        find: ' || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))',
        replace: ')',
      },
    ],
  },
  {
    row: 24,
    file: '24-helper-traced',
    pattern: 'as it stands in the namespace',
    defence: 'the helper gives up its groups',
    edits: [{ source: 'core/kernel/park.c', find: ' || (getgroups(0, NULL) && setgroups(0, NULL))', replace: '' }],
  },
  {
    row: 24,
    file: '24-helper-traced',
    pattern: 'as it stands in the namespace',
    defence: 'the memory of the helper is not its new owner’s: it is never dumpable there',
    edits: [
      { source: 'core/kernel/park.c', find: '\tclose(proc);\n', replace: '\tclose(proc);\n\tprctl(PR_SET_DUMPABLE, 1);\n' },
    ],
  },
  {
    row: 24,
    file: '24-helper-traced',
    pattern: 'stopped after each of its steps',
    defence: 'the helper is not dumpable even for a moment',
    edits: [
      {
        source: 'core/kernel/park.c',
        find: '\tuid = mapped_id(proc, "uid_map");\n',
        replace: '\tprctl(PR_SET_DUMPABLE, 1);\n\tuid = mapped_id(proc, "uid_map");\n\tprctl(PR_SET_DUMPABLE, 0);\n',
      },
    ],
  },
  {
    row: 24,
    file: '24-helper-traced',
    pattern: 'stopped after each of its steps',
    defence: 'the helper takes ids of the namespace before its mount namespace stands',
    edits: [
      {
        source: 'core/kernel/park.c',
        find: ' || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))',
        replace: ')',
      },
      {
        source: 'core/kernel/park.c',
        find: 'if (unshare(CLONE_NEWNS))',
        replace: 'if (unshare(CLONE_NEWNS) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))',
      },
    ],
  },
  {
    row: 25,
    file: '25-descriptor-leak',
    pattern: 'its two pipes alone',
    defence: 'the helper closes whatever it was given',
    edits: [{ source: 'core/kernel/park.c', find: 'if (close_range(2, ~0U, 0))', replace: 'if (0)' }],
  },
  {
    row: 25,
    file: '25-descriptor-leak',
    pattern: 'that the daemon holds',
    defence: 'descriptors are made close-on-exec',
    edits: [
      { source: 'core/kernel/inotify.ts', find: 'inotifyInit1(IN_CLOEXEC | IN_NONBLOCK)', replace: 'inotifyInit1(IN_NONBLOCK)' },
    ],
  },
  {
    row: 25,
    file: '25-descriptor-leak',
    pattern: 'only later',
    defence: 'a clone of a mount is made close-on-exec, however soon it is closed',
    edits: [
      {
        source: 'core/kernel/mount.ts',
        find: 'OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (path',
        replace: 'OPEN_TREE_CLONE | (path',
      },
    ],
  },
  {
    row: 25,
    file: '25-descriptor-leak',
    pattern: 'gets its four descriptors',
    defence: 'what callers send is close-on-exec',
    edits: [{ source: 'core/kernel/socket.ts', find: 'MSG_DONTWAIT | MSG_CMSG_CLOEXEC', replace: 'MSG_DONTWAIT' }],
  },
  {
    row: 26,
    file: '26-quota-evasion',
    pattern: 'of many requests at once',
    defence: 'room is reserved before a mount is built',
    edits: [
      {
        source: 'daemon/accounts.ts',
        find: '      addHeld(payer, 1);\n      let open = true;',
        replace: '      queueMicrotask(() => setTimeout(() => addHeld(payer, 1), 200));\n      let open = true;',
      },
    ],
  },
  {
    row: 26,
    file: '26-quota-evasion',
    pattern: 'subordinate ids',
    defence: 'the owner of the outermost user namespace pays',
    edits: [
      {
        source: 'daemon/userns.ts',
        find: 'payer: payerIn(owners, callerUid)',
        replace: 'payer: callerUid',
      },
    ],
  },
  {
    row: 26,
    file: '26-quota-evasion',
    pattern: 'at its limit is refused',
    defence: 'live mounts are limited',
    edits: [
      {
        source: 'daemon/accounts.ts',
        find: 'if ((held.get(payer) ?? 0) >= mountsPerUser) {',
        replace: 'if (mountsPerUser < 0) {',
      },
    ],
  },
  {
    row: 26,
    file: '26-quota-totals',
    pattern: 'all users together',
    defence: 'live mounts of all users are limited together',
    edits: [
      {
        source: 'daemon/accounts.ts',
        find: 'if (mountsTotal !== null && total >= mountsTotal) {',
        replace: 'if (mountsTotal !== null && total < 0) {',
      },
    ],
  },
  {
    row: 26,
    file: '26-quota-totals',
    pattern: 'within a minute',
    defence: 'mounts of a user within a minute are limited',
    edits: [{ source: 'daemon/rate.ts', find: 'if (moments.length >= limit) {', replace: 'if (limit < 0) {' }],
  },
  {
    row: 26,
    file: '26-quota-totals',
    pattern: 'came to nothing',
    defence: 'a mount that came to nothing gives its room back',
    edits: [{ source: 'daemon/accounts.ts', find: '            giveBack?.();\n', replace: '' }],
  },
  {
    row: 26,
    file: '26-quota-evasion',
    pattern: 'clones that the owner takes',
    defence: 'a mount counts before it is on the ground of its owner',
    edits: [
      {
        source: 'daemon/methods/hand-out.ts',
        find: `  const mount = countOrClose(built);
  const locked = await service.parking.lock(built, userns.fd, userns.payer);
  try {`,
        replace: `  const locked = await service.parking.lock(built, userns.fd, userns.payer);
  try {
    if (caller.isGone()) throw new RequestError('Failed', 'the caller has gone');
    const mount = countOrClose({ mount: locked });`,
      },
    ],
  },
  {
    row: 26,
    file: '26-quota-evasion',
    pattern: 'so much room',
    defence: 'the copies that one user has in the making are limited',
    edits: [{ source: 'daemon/copies.ts', find: 'own + size > MAX_BYTES_PER_USER || ', replace: '' }],
  },
  {
    row: 26,
    file: '26-quota-evasion',
    pattern: 'so much room',
    defence: 'the room of a copy that came to nothing is given back',
    edits: [{ source: 'daemon/copies.ts', find: 'done: () => giveBack(payer, size)', replace: 'done: () => {}' }],
  },
  {
    row: 26,
    file: '26-quota-evasion',
    pattern: 'one byte more',
    defence: 'one copy may be as large as all of a user’s, and no larger',
    edits: [{ source: 'daemon/copies.ts', find: 'own + size > MAX_BYTES_PER_USER || ', replace: 'own > MAX_BYTES_PER_USER || ' }],
  },
  {
    row: 29,
    file: '29-log-injection',
    defence: 'text of callers is quoted',
    edits: [
      {
        source: 'core/wire/quote.ts',
        find: "  if (char >= ' ' && char <= '~') return char;",
        replace: '  if (char !== "") return char;',
      },
    ],
  },
  {
    row: 30,
    file: '30-secrets-in-errors',
    pattern: 'not foreseen',
    defence: 'only errors written for callers leave the daemon',
    edits: [
      {
        source: 'daemon/dispatch.ts',
        find: "new RequestError('Failed', 'internal error', {",
        replace: "new RequestError('Failed', String((error as Error).stack), {",
      },
    ],
  },
  {
    row: 30,
    file: '30-secrets-in-errors',
    pattern: 'tells more than the caller may know',
    defence: 'rules of others are for root to see',
    edits: [
      {
        source: 'daemon/methods/check.ts',
        find: "decision.verdict === 'deny' && caller.uid === 0",
        replace: "decision.verdict === 'deny'",
      },
    ],
  },
  {
    row: 31,
    file: '31-parked-namespace',
    pattern: 'points-bind',
    defence: 'what is handed out is compared with what was built',
    edits: [
      {
        source: 'daemon/parking.ts',
        find: 'if (sameInode(statFd(locked), built)) return locked;',
        replace: 'if (built) return locked;',
      },
    ],
  },
  {
    row: 31,
    file: '31-parked-namespace',
    pattern: 'points-fuse',
    defence: 'what cannot even be compared is closed, too',
    edits: [
      { source: 'daemon/parking.ts', find: '    return orClose([locked], () => {', replace: '    return orClose([], () => {' },
    ],
  },
  {
    row: 31,
    file: '31-parked-namespace',
    pattern: 'takes its time',
    defence: 'a thread has done with a job’s descriptors before they are given up',
    edits: [
      {
        source: 'daemon/worker/pool.ts',
        find: `      finish(thread);
      thread.abandoned = false;
      if (answer.grown) void endThread(thread);
    } else if (thread.task) settle(thread.task, answer, thread.abandoned);`,
        replace: `      thread.abandoned = false;
      if (answer.grown) void endThread(thread);
    } else if (thread.task) settle(finish(thread)!, answer, thread.abandoned);`,
      },
    ],
  },
];
