// Writes beside each program in code/ what V8 makes of its source, so that it starts without being compiled. To be run again, by the owner
// of the programs, when Node.js has been replaced: V8 refuses what another version made, and the programs then start as if it were not there.
'use strict';
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const { basename, join } = require('node:path');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');

const DIRECTORY = join(__dirname, 'code');

// All functions, not only those that run at the start: what a program is started for is not known here.
function compile(source, filename) {
  setFlagsFromString('--no-lazy');
  const script = new Script(`(function(exports,require,module,__filename,__dirname){${source}\n})`, { filename });
  setFlagsFromString('--lazy'); // V8 takes no cache that was made under other flags than it runs with
  return script.createCachedData();
}

// Whole or not at all: V8 compares the length, and runs what is inside as it is.
function writeWhole(path, data) {
  fs.rmSync(`${path}.new`, { force: true });
  const fd = fs.openSync(`${path}.new`, 'wx', 0o644);
  fs.writeFileSync(fd, data);
  fs.fchmodSync(fd, 0o644);
  fs.fsyncSync(fd);
  fs.closeSync(fd);
  fs.renameSync(`${path}.new`, path);
}

// The name holds the digest of the source, as its loader does: V8 compares nothing of a source but its length.
function writeCache(name) {
  const bytes = fs.readFileSync(join(DIRECTORY, name));
  const build = createHash('sha256').update(bytes).digest('hex').slice(0, 16);
  const cache = `${basename(name, '.cjs')}-${build}.cache`;
  writeWhole(join(DIRECTORY, cache), compile(bytes.toString('latin1'), join(DIRECTORY, name)));
  return cache;
}

const before = fs.readdirSync(DIRECTORY);
const written = before.filter((name) => name.endsWith('.cjs')).map(writeCache);
for (const name of before) if (!name.endsWith('.cjs') && !written.includes(name)) fs.rmSync(join(DIRECTORY, name));
