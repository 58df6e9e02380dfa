/** The well-known name on the system bus. */
export const BUS_NAME = 'org.composefs.Mount1';
export const OBJECT_PATH = '/org/composefs/Mount1';
export const INTERFACE = 'org.composefs.Mount1';
export const ERROR_PREFIX = 'org.composefs.Mount1.Error.';
/** D-Bus without a bus: where the daemon listens unless told otherwise. */
export const DEFAULT_SOCKET = '/run/cfsmountd/socket';

export const INTROSPECTABLE = 'org.freedesktop.DBus.Introspectable';
export const PEER = 'org.freedesktop.DBus.Peer';
export const PROPERTIES = 'org.freedesktop.DBus.Properties';
