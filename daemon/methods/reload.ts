import type { FdList } from '../../core/kernel/fd.js';
import { RequestError } from '../../core/wire/errors.js';
import { PolicyError } from '../../policy/problem.js';
import type { Service } from '../service.js';
import type { Caller, Reply } from '../transport/peer.js';
import type { Notes } from './notes.js';

/** Root only (the dispatcher sees to it), so the message may name the policy's files. */
export function reload(service: Service, _caller: Caller, _body: readonly unknown[], _fds: FdList, notes: Notes): Reply {
  notes.reason = 'policy read again';
  try {
    service.reload();
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    throw new RequestError('Failed', `the policy was not replaced: ${error.message.replaceAll('\n', '; ')}`, { cause: error });
  }
  return { signature: '', body: [] };
}
