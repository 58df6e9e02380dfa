// The calls by which a live daemon would show an image to the kernel, as strace sees them: proof that none was made.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';

import { eventually } from './daemon.js';

/** Any mount of an image starts with one of these, and names the file system. */
const CALLS = ['fsopen', 'mount'];

/** Does the work, and returns the lines of all threads that open EROFS or overlayfs meanwhile. */
export async function imageCallsDuring(pid: number, work: () => Promise<void>): Promise<string[]> {
  const args = ['-f', '-qq', '-e', `trace=${CALLS.join(',')}`, '-e', 'signal=none', '-p', String(pid)];
  const child = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let output = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
  await eventually('strace is attached', () =>
    readdirSync(`/proc/${pid}/task`).every((task) =>
      readFileSync(`/proc/${pid}/task/${task}/status`, 'latin1').includes(`TracerPid:\t${child.pid}\n`),
    ),
  );
  try {
    await work();
  } finally {
    child.kill('SIGINT');
    await once(child, 'exit');
  }
  return output.split('\n').filter((line) => /"(erofs|overlay)"/.test(line));
}
