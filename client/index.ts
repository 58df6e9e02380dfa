/**
 * Mounts trusted composefs and EROFS images without privilege, through the cfsmountd service.
 *
 *     using client = connect();
 *     const { mount, result } = client.mountImage('os/base');
 *     try { attach(mount, '/mnt'); } finally { mount.close(); }
 *
 * Calls block the calling thread; only those named `…Async` do not. Every error the caller is meant to read is a `RequestError`.
 */
export { attach } from './attach.js';
export type { ConnectOptions } from './connect.js';
export { openObjectStores } from './image.js';
export { connect } from './mount-client.js';
export type { ImageOptions, MountClient, MountOptions, ReceivedMount, ServiceStatus } from './mount-client.js';
export { attachWritable } from './overlay.js';
export type { WritableLayer } from './overlay.js';
export { openOwnUserns as ownUserns } from './user-namespace.js';
export { FdList, OwnedFd, duplicateNumber } from '../core/kernel/fd.js';
export type { Fd } from '../core/kernel/fd.js';
export { ERROR_CODES, RequestError } from '../core/wire/errors.js';
export type { ErrorCode } from '../core/wire/errors.js';
export type { CheckReport, ImageEntry, MountEntry, MountResult, PolicySummary } from '../core/wire/results.js';
export { VERSION } from '../core/wire/version.js';
