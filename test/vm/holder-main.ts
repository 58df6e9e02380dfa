// holder-main COUNT: mounts an image of the service so many times below a tmpfs, and keeps the mounts until it is killed.
import { mkdirSync } from 'node:fs';

import { attach, connect } from '../../client/index.js';
import { run } from '../support/machine.js';

run('mount', '-t', 'tmpfs', 'none', '/mnt');
using client = connect({ timeoutMs: 60_000 });
for (let i = 0; i < Number(process.argv[2]); i++) {
  mkdirSync(`/mnt/${i}`);
  const { mount } = client.mountImage('live');
  attach(mount, `/mnt/${i}`);
  mount.close();
}
setInterval(() => {}, 60_000);
