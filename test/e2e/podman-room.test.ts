// The room that the tests with podman live in: podman as it comes works there, and nothing of it stays.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { run } from '../support/machine.js';
import { type Room, type RoomUser, openRoom } from '../support/podman.js';

let room: Room;
let user: RoomUser;

before(async () => {
  room = await openRoom();
  user = room.users[0]!;
});
after(() => room?.close());

test('an ordinary user runs a container, whose first process is the user on the host', () => {
  const archive = `${room.path}/small.tar`;
  run('tar', '-C', '/', '-cf', archive, 'bin/busybox');
  room.output(user, ['podman', 'import', '--quiet', archive, 'small']);
  const words = ['podman', 'run', '--rm', 'small', '/bin/busybox', 'id', '-u'];
  assert.equal(room.output(user, words), '0\n');
  assert.match(room.output(user, ['podman', 'unshare', 'cat', '/proc/self/uid_map']), new RegExp(`^ +0 +${user.uid} +1\n`));
});

test('what goes on in a room is not seen from outside, and ends with it', async () => {
  const other = await openRoom(2);
  room.output(user, ['podman', 'info']);
  other.output(other.users[1]!, ['podman', 'unshare', 'true']);
  assert.doesNotMatch(readFileSync('/etc/passwd', 'utf8'), /roomer/);
  assert.equal(run('findmnt', '-rn', '-o', 'TARGET').includes(other.path), false);
  assert.match(run('ps', '-eo', 'args'), new RegExp(`room ${other.path}`));
  await other.close();
  assert.equal(existsSync(other.path), false);
  assert.equal(run('ps', '-eo', 'args').includes(other.path), false);
});
