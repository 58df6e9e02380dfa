// The system bus: the same calls, with the bus driver's word for who called.
import type { Closer } from '../../core/kernel/fd.js';
import type { MessageHeader } from '../../core/wire/header.js';
import { BUS_NAME } from '../../core/wire/names.js';
import { type BusConnection, openBus } from './bus-connection.js';
import { parseCredentials } from './bus-driver.js';
import { type CallGate, createSharedGate, mayInteract, type Caller, type CallHandler } from './peer.js';

// All callers share this one connection, and each call holds descriptors. The bus says who sent a call long before it says of which user that is.
const LIMITS = { perSender: 64, total: 256 };
const NAME_FLAG_DO_NOT_QUEUE = 4;
const REQUEST_NAME_PRIMARY_OWNER = 1;

export interface BusServer {
  readonly connection: BusConnection;
  lastActivity(): number;
  close(): void;
}

/** Connects to a bus at a socket path and takes the service's name. `onLost` reports a bus that went away. */
export async function serveBus(
  path: string,
  handler: CallHandler,
  closer: Closer,
  onLost: (reason: string) => void,
): Promise<BusServer> {
  let lastActivity = Date.now();
  let gate: Pick<CallGate, 'accept'> | undefined;
  const connection = await openBus(
    path,
    {
      onLost,
      onCall(message, fds) {
        lastActivity = Date.now();
        // Before the name is ours, nobody can mean us.
        if (gate === undefined) return fds[Symbol.dispose]();
        gate.accept(message, fds, () => identify(connection, message.header));
      },
    },
    closer,
  );
  gate = createSharedGate(connection.stream, connection.nextSerial, handler, LIMITS);
  const [result] = await connection.callDriver('RequestName', 'su', [BUS_NAME, NAME_FLAG_DO_NOT_QUEUE]);
  if (result !== REQUEST_NAME_PRIMARY_OWNER) {
    connection.stream.close('name taken');
    throw new Error(`the name ${BUS_NAME} is taken on the bus at ${path}; is another cfsmountd running?`);
  }
  return {
    connection,
    lastActivity: () => lastActivity,
    close: () => connection.stream.close('the service is stopping'),
  };
}

/** Asked for each call: a unique name is never given twice, so the answer is about this very caller or an error. */
async function identify(connection: BusConnection, header: MessageHeader): Promise<Caller> {
  const [credentials] = await connection.callDriver('GetConnectionCredentials', 's', [header.sender]);
  const caller = parseCredentials(credentials);
  let gone = false;
  return {
    ...caller,
    payer: caller.uid,
    transport: 'bus',
    subject: { kind: 'bus-name', name: header.sender },
    mayInteract: mayInteract(header),
    isGone: () => gone || !connection.isOpen,
    watchGone: (onGone) =>
      connection.watchName(header.sender, () => {
        gone = true;
        onGone();
      }),
  };
}
