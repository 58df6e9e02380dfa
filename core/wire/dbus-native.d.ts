// The part of dbus-native 0.13.0 that we use: its codec. The package has no types for these files.

declare module 'dbus-native/lib/message.js' {
  interface OutgoingMessage {
    type: number;
    flags: number;
    serial: number;
    path?: string;
    interface?: string;
    member?: string;
    errorName?: string;
    replySerial?: number;
    destination?: string;
    sender?: string;
    signature?: string;
    body?: readonly unknown[];
    /** Only its length is read. */
    fds?: { readonly length: number };
  }
  export function marshall(message: OutgoingMessage): Buffer;
  export function unmarshall(message: Buffer, options: { returnBigInt: boolean; variants: 'wrap' }): { body?: unknown[] };
}

declare module 'dbus-native/lib/values.js' {
  export class Variant {
    constructor(signature: string, value: unknown);
    readonly signature: string;
    readonly value: unknown;
  }
}
