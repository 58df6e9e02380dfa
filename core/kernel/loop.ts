// Loop devices: the way to mount an image whose file system EROFS cannot read by file (tmpfs, overlayfs).
import { isErrno } from './error.js';
import { type Fd, OwnedFd } from './fd.js';
import { O_RDONLY, O_RDWR, openPath } from './file.js';
import { ioctlBuffer, ioctlNumber } from './ioctl.js';

// linux/loop.h
const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_AUTOCLEAR = 4;
const ATTEMPTS = 64;

function encodeConfig(file: Fd): Buffer {
  const config = Buffer.alloc(304); // struct loop_config: u32 fd, u32 block_size, struct loop_info64, u64 reserved[8]
  config.writeUInt32LE(file.raw, 0);
  config.writeUInt32LE(LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR, 8 + 52);
  return config;
}

/** A read-only loop device over a file. It goes away with the last user of the device, this descriptor or a mount. */
export function attachLoop(file: Fd): OwnedFd {
  using control = openPath('/dev/loop-control', O_RDWR);
  const config = encodeConfig(file);
  for (let attempt = 1; ; attempt++) {
    const number = ioctlNumber(control.raw, LOOP_CTL_GET_FREE, 0);
    const device = openPath(`/dev/loop${number}`, O_RDONLY);
    try {
      ioctlBuffer(device.raw, LOOP_CONFIGURE, config);
      return device;
    } catch (error) {
      device.close();
      // Somebody else took the number between the two calls.
      if (!isErrno(error, 'EBUSY') || attempt === ATTEMPTS) throw error;
    }
  }
}
