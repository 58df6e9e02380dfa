// Client side of D-Bus authentication: EXTERNAL with an empty identity, all in one write as sd-bus does it.

const MAX_LINE = 512;
const NOTHING = Buffer.alloc(0);

export interface SaslClientStep {
  /** Authenticated, fds may be passed; `guid` names the server, `rest` is the start of its first message. */
  done?: { readonly guid: string; readonly rest: Buffer };
  /** Why the connection is of no use, as a sentence for people. */
  reject?: string;
}

export interface SaslClient {
  /** Not to be called again after `done` or `reject`. */
  push(chunk: Buffer): SaslClientStep;
}

/**
 * Everything the client has to say. The identity is left empty: inside a user namespace getuid() is 0 where the kernel tells
 * the server something else, and a wrong identity is rejected. Messages may be sent right behind it, fds only after `done`.
 */
export function clientHello(): Buffer {
  return Buffer.from('\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n', 'latin1');
}

/** Reads what the server answers to `clientHello`. */
export function createSaslClient(): SaslClient {
  let held: Buffer = NOTHING;
  let guid = '';
  let answered = 0;

  function push(chunk: Buffer): SaslClientStep {
    held = held.length === 0 ? Buffer.from(chunk) : Buffer.concat([held, chunk]);
    for (;;) {
      const newline = held.subarray(0, MAX_LINE).indexOf('\r\n');
      if (newline < 0) return held.length >= MAX_LINE ? { reject: 'the server does not speak D-Bus' } : {};
      const line = held.toString('latin1', 0, newline);
      held = held.subarray(newline + 2);
      const reject = hear(line);
      if (reject !== undefined) return { reject };
      if (answered === 3) return { done: { guid, rest: held } };
    }
  }

  function hear(line: string): string | undefined {
    if (line.startsWith('REJECTED')) return 'the server does not accept who we are';
    switch (answered++) {
      case 0:
        return line === 'DATA' ? undefined : 'the server does not take an empty identity';
      case 1:
        guid = /^OK ([0-9a-fA-F]{32})$/.exec(line)?.[1] ?? '';
        return guid === '' ? 'the server does not speak D-Bus' : undefined;
      default:
        return line === 'AGREE_UNIX_FD' ? undefined : 'the server does not pass file descriptors';
    }
  }

  return { push };
}
