// The live mounts of the service, for who must know them all or not go on.
import { RequestError } from '../core/wire/errors.js';
import type { MountEntry } from '../core/wire/results.js';
import { formatAddress, parseAddress } from './address.js';
import type { ConnectOptions } from './connect.js';
import { connect } from './mount-client.js';
import { isNoService } from './remote-error.js';

/**
 * The images that are mounted, of whichever service answers first; none if nobody provides it. Root hears of everybody's mounts. Throws `RequestError` if
 * something that may be the service is there and does not answer.
 */
export function listServiceMounts({ address, timeoutMs }: ConnectOptions): readonly MountEntry[] {
  for (const candidate of parseAddress(address)) {
    try {
      using client = connect({ address: formatAddress(candidate), timeoutMs });
      return client.listMounts();
    } catch (error) {
      if (isNoService(error)) continue;
      if (!(error instanceof RequestError)) throw error;
      throw new RequestError(error.code, `it cannot be told what is mounted: ${error.message}`, {
        hint: error.hint,
        cause: error,
      });
    }
  }
  return [];
}
