// Server side of D-Bus authentication, EXTERNAL only (D-Bus specification, "Authentication Protocol").
// The identity is the one the kernel gave for the socket; what the client claims can only agree with it or be refused.

const MAX_LINE = 512;
const MAX_BYTES = 4096;
const MAX_LINES = 16;
const NOTHING = Buffer.alloc(0);

export interface SaslServerStep {
  /** Send this first, also when the step ends with `reject`. */
  reply?: Buffer;
  /** The peer is authenticated; `rest` is the start of its first message. */
  done?: { readonly unixFds: boolean; readonly rest: Buffer };
  /** Why the connection has to be closed. Holds no text of the peer. */
  reject?: string;
}

export interface SaslServer {
  /** Not to be called again after `done` or `reject`. */
  push(chunk: Buffer): SaslServerStep;
}

type State = 'auth' | 'data' | 'begin' | 'done';

/** `guid`: 32 hex digits naming this listener. `peerUid`: uid of the peer as the kernel has it (SO_PEERCRED). */
export function createSaslServer({ guid, peerUid }: { guid: string; peerUid: number }): SaslServer {
  const conversation = converse(guid, peerUid);
  let held: Buffer = NOTHING;
  let sawNul = false;
  let taken = 0;
  let lines = 0;

  function push(chunk: Buffer): SaslServerStep {
    let input = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    const replies: string[] = [];
    const step = (end: SaslServerStep): SaslServerStep =>
      replies.length === 0 ? end : { ...end, reply: Buffer.from(replies.map((line) => `${line}\r\n`).join(''), 'latin1') };

    if (!sawNul && input.length > 0) {
      if (input[0] !== 0) return step({ reject: 'first byte is not NUL' });
      sawNul = true;
      taken = 1;
      input = input.subarray(1);
    }
    for (;;) {
      const newline = input.subarray(0, MAX_LINE).indexOf(0x0a);
      if (newline < 0) break;
      const line = takeLine(input.subarray(0, newline + 1));
      taken += newline + 1;
      if (line === undefined) return step({ reject: 'malformed line' });
      if (++lines > MAX_LINES || taken > MAX_BYTES) return step({ reject: 'too long a conversation' });
      input = input.subarray(newline + 1);
      const answer = conversation.hear(line);
      if (answer.say !== undefined) replies.push(answer.say);
      if (answer.reject !== undefined) return step({ reject: answer.reject });
      if (answer.state === 'done') return step({ done: { unixFds: answer.unixFds, rest: Buffer.from(input) } });
    }
    if (input.length >= MAX_LINE) return step({ reject: 'line longer than 512 bytes' });
    held = Buffer.from(input);
    return step({});
  }

  return { push };
}

// "\r\n" and nothing but printable ASCII before it.
function takeLine(bytes: Buffer): string | undefined {
  return /^([ -~]*)\r\n$/.exec(bytes.toString('latin1'))?.[1];
}

interface Answer {
  readonly state: State;
  readonly unixFds: boolean;
  readonly say?: string;
  readonly reject?: string;
}

function converse(guid: string, peerUid: number): { hear(line: string): Answer } {
  let state: State = 'auth';
  let unixFds = false;

  function become(next: State, say?: string): Answer {
    state = next;
    if (next === 'auth') unixFds = false;
    return say === undefined ? { state, unixFds } : { state, unixFds, say };
  }
  const refuse = (): Answer => become('auth', 'REJECTED EXTERNAL');
  const identify = (hex: string): Answer => (isIdentity(hex, peerUid) ? become('begin', `OK ${guid}`) : refuse());

  function hear(line: string): Answer {
    const [command = '', ...args] = line.split(' ');
    if (command === 'BEGIN' && args.length === 0)
      return state === 'begin' ? become('done') : { state, unixFds, reject: 'BEGIN before authentication' };
    if (state !== 'auth' && command === 'CANCEL' && args.length === 0) return refuse();
    if (command === 'ERROR') return refuse();
    if (state === 'auth' && command === 'AUTH') return hearAuth(args);
    if (state === 'data' && command === 'DATA' && args.length <= 1) return identify(args[0] ?? '');
    if (state === 'begin' && line === 'NEGOTIATE_UNIX_FD') {
      unixFds = true;
      return become('begin', 'AGREE_UNIX_FD');
    }
    return become(state, 'ERROR');
  }

  function hearAuth([mechanism, initial, ...more]: string[]): Answer {
    if (mechanism !== 'EXTERNAL' || more.length > 0) return refuse();
    return initial === undefined ? become('data', 'DATA') : identify(initial);
  }

  return { hear };
}

// An empty identity asks for the kernel's. Inside a user namespace it is the only one a client can give: what it
// believes to be its uid is another number outside.
function isIdentity(hex: string, peerUid: number): boolean {
  return hex === '' || hex.toLowerCase() === Buffer.from(String(peerUid), 'latin1').toString('hex');
}
