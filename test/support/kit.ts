// What an actor has at hand.
import * as fs from 'node:fs';

import * as client from '../../client/index.js';
import * as error from '../../core/kernel/error.js';
import * as fd from '../../core/kernel/fd.js';
import * as file from '../../core/kernel/file.js';
import * as libc from '../../core/kernel/libc.js';
import * as mount from '../../core/kernel/mount.js';
import * as mountInfo from '../../core/kernel/mount-info.js';
import * as namespace from '../../core/kernel/namespace.js';
import * as socket from '../../core/kernel/socket.js';
import * as stat from '../../core/kernel/stat.js';
import * as poll from '../../core/kernel/poll.js';
import * as codec from '../../core/wire/codec.js';
import * as sasl from '../../core/wire/sasl-client.js';
import * as variants from '../../core/wire/variants.js';
import * as fuse from './fuse.js';
import * as lingering from './lingering.js';
import * as rawCall from './raw-call.js';
import * as raw from './raw-connection.js';
import * as tree from './tree.js';

/** Kept from one step to the next: what a step stores here, a later one finds. */
const store: Record<string, unknown> = {};

export const kit = {
  fs,
  client,
  error,
  fd,
  file,
  libc,
  mount,
  mountInfo,
  namespace,
  socket,
  stat,
  poll,
  codec,
  sasl,
  variants,
  fuse,
  lingering,
  raw,
  rawCall,
  tree,
  store,
};
export type Kit = typeof kit;
