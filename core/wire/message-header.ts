/** A checked header. A field the message does not have is '' or 0; what its type requires is never empty. */
export interface MessageHeader {
  readonly type: number;
  readonly flags: number;
  readonly noReplyExpected: boolean;
  readonly serial: number;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly errorName: string;
  readonly replySerial: number;
  /** Set by the bus. On a direct connection it is whatever the peer wrote: no identity. */
  readonly sender: string;
  readonly destination: string;
  readonly signature: string;
  /** How many fds belong to this message: take exactly these from the stream. */
  readonly unixFds: number;
}
