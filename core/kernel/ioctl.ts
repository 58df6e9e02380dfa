import { bind } from './libc.js';

/** ioctl(2) with a structure as its argument. */
export const ioctlBuffer = bind('ioctl', ['fd', 'u64', 'buffer']);
/** ioctl(2) with a number, or nothing, as its argument. */
export const ioctlNumber = bind('ioctl', ['fd', 'u64', 'int']);
