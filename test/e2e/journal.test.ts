// The log where the service manager connects standard error to the journal: a socket stands where the journal's is, in a mount namespace.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { connect } from '../../client/index.js';
import { eventually } from '../support/daemon.js';
import { DIST, requirePrivileges } from '../support/machine.js';
import { openNotifySocket } from '../support/notify-socket.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
after(() => scratch.remove());
const DIGEST = `sha256:${'ab'.repeat(32)}`;

/** Starts a daemon whose standard error is a file, and says of it what systemd says of a journal stream. Returns what its log was after one denied check. */
async function logOf(name: string, journal: boolean, stream: string): Promise<{ datagrams: string[]; stderr: string }> {
  requirePrivileges();
  const directory = join(scratch.path, name);
  mkdirSync(join(directory, 'journal'), { recursive: true });
  const socket = openNotifySocket(join(directory, 'journal/socket'));
  const stderr = join(directory, 'stderr');
  writeFileSync(stderr, '');
  const flags = `--policy-dir ${directory}/policy.d --state-dir ${directory}/state --socket ${directory}/socket --bus none`;
  const place = journal ? `mkdir -p /run/systemd/journal; mount --bind ${directory}/journal /run/systemd/journal;` : '';
  const script = `mount -t tmpfs -o mode=755 run /run; ${place} export JOURNAL_STREAM=${stream}; exec ${DIST}/cfsmountd ${flags} 2>${stderr}`;
  const child = spawn('unshare', ['-m', '--propagation', 'private', 'bash', '-c', script], { stdio: 'ignore' });
  try {
    await eventually('the daemon is ready', () => {
      try {
        using client = connect({ address: `unix:path=${directory}/socket` });
        return client.checkImage(DIGEST) === undefined;
      } catch (error) {
        return (error as { code: string }).code === 'NoSuchImage';
      }
    });
    child.kill('SIGTERM');
    await once(child, 'exit');
    return { datagrams: socket.take(), stderr: readFileSync(stderr, 'utf8') };
  } finally {
    child.kill('SIGKILL');
    socket.close();
  }
}
const OWN = '$(stat -Lc %d:%i STDERR)';

test('standard error is the journal: fields of its own, and nothing on standard error', async () => {
  const { datagrams, stderr } = await logOf('journal', true, OWN.replace('STDERR', join(scratch.path, 'journal/stderr')));
  const denied = datagrams.find((text) => text.includes('CFSMOUNTD_VERDICT=deny\n'));
  assert.ok(denied, datagrams.join('\n---\n'));
  assert.match(denied, /^MESSAGE=\{.*"verdict":"deny".*\}\nPRIORITY=5\nSYSLOG_IDENTIFIER=cfsmountd\nCFSMOUNTD_AUDIT=true\n/);
  assert.match(denied, /\nCFSMOUNTD_METHOD=CheckImage\n/);
  assert.ok(datagrams.some((text) => /"msg":"ready"\}\nPRIORITY=6\n/.test(text)));
  assert.equal(stderr, '');
});

test('standard error is the journal, whose socket is not there: lines with their priority in front', async () => {
  const { datagrams, stderr } = await logOf('gone', false, OWN.replace('STDERR', join(scratch.path, 'gone/stderr')));
  assert.deepEqual(datagrams, []);
  assert.match(stderr, /^<5>\{"level":"info",.*"verdict":"deny"/m);
  assert.match(stderr, /^<6>\{.*"msg":"ready"\}$/m);
});

test('JOURNAL_STREAM is left over from a parent, and standard error is something else: plain lines', async () => {
  const { datagrams, stderr } = await logOf('other', true, '1:2');
  assert.deepEqual(datagrams, []);
  for (const line of stderr.trimEnd().split('\n')) assert.equal(typeof JSON.parse(line), 'object');
});
