#!/usr/bin/env node
// Runs code/@PROGRAM@.cjs, with V8's code cache where there is one (write-code-cache.cjs). V8 itself refuses one of another V8.
'use strict';
const { closeSync, constants, fstatSync, openSync, readFileSync } = require('node:fs');
const { Script } = require('node:vm');

const CODE = `${__dirname}/code/@PROGRAM@.cjs`;
const CACHE = `${__dirname}/code/@PROGRAM@-@BUILD@.cache`;

// A cache is code: it counts only if the owner of the program, and nobody else, can write it.
function readCache(owner) {
  let fd;
  try {
    fd = openSync(CACHE, constants.O_RDONLY | constants.O_NOFOLLOW);
    const { uid, mode } = fstatSync(fd);
    return uid === owner && (mode & 0o022) === 0 ? readFileSync(fd) : undefined;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

const fd = openSync(CODE);
const source = readFileSync(fd, 'latin1'); // ASCII but for its comments; read faster so
const cachedData = readCache(fstatSync(fd).uid);
closeSync(fd);
const script = new Script(`(function(exports,require,module,__filename,__dirname){${source}\n})`, { filename: CODE, cachedData });
script.runInThisContext()(exports, require, module, __filename, __dirname);
