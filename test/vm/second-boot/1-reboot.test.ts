// The same disk, booted again after it was shut down with fifty mounts live.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';

import { connect } from '../../../client/index.js';
import { run } from '../../support/machine.js';
import { assertDone } from '../../support/outcome.js';
import { ALICE, inPodman, ourProcesses, stateOf } from '../guest.js';

test('the shutdown did not wait for the service, nor fail to stop it', () => {
  const said = run('journalctl', '--no-pager', '-b', '-1', '-u', 'cfsmountd.service', '-o', 'cat');
  assert.match(said, /cfsmountd\.service: Deactivated successfully\.[^]*$/);
  const end = said.slice(said.lastIndexOf('Stopping Mounts of trusted'));
  assert.doesNotMatch(end, /timed out|Killing|SIGKILL|Failed/);
  const units = run('journalctl', '--no-pager', '-b', '-1', '-o', 'cat', '_PID=1').split('\n');
  assert.deepEqual(
    units.filter((line) => /timed out|Failed unmounting/.test(line)),
    [],
  );
});

test('after a reboot: nothing is mounted, nothing runs, the socket is open', () => {
  const images = run('findmnt', '--noheadings', '--list', '-t', 'erofs,overlay', '-o', 'TARGET').trim().split('\n');
  assert.deepEqual(images.sort(), ['/run/vm/job', '/run/vm/share', '/tests'], 'the tests themselves');
  assert.deepEqual([stateOf('cfsmountd.socket'), stateOf('cfsmountd.service'), ourProcesses()], ['active', 'inactive', []]);
});

test('the next call works, and no mount of before counts', () => {
  using client = connect({ timeoutMs: 60_000 });
  assert.deepEqual(client.listMounts(), []);
  assertDone(inPodman(ALICE, 'cfsctl mount live /mnt/m && cat /mnt/m/note'), 'still here\n');
  assert.deepEqual(readdirSync('/var/lib/cfsmountd').sort(), ['copies', 'podman', 'repo']);
});
