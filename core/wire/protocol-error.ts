import type { MessageHeader } from './message-header.js';

/**
 * A peer that does not speak D-Bus as the specification and our limits have it.
 *
 * `header` is set when the header of the message was sound and its fds are accounted for: the message may then be refused alone (with
 * an error reply, its fds closed) and the connection kept. A bus connection needs that: whatever dbus-daemon forwards, from anybody,
 * must not cost us the connection. Without `header` the stream is lost and the connection has to go.
 */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly header: MessageHeader | undefined;

  constructor(message: string, options: { header?: MessageHeader; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.header = options.header;
  }
}
