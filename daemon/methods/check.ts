// CheckImage and CheckFile: the same way as a mount, but nothing is mounted and a refusal is an answer.
import type { FdList } from '../../core/kernel/fd.js';
import { parseCheckFile, parseCheckImage, type ImageOptions } from '../../core/wire/requests.js';
import { encodeCheckReport } from '../../core/wire/results.js';
import { decide } from '../../policy/decide.js';
import type { Service } from '../service.js';
import type { Caller, Reply } from '../transport/peer.js';
import { takeFiles } from './mount-file.js';
import type { Notes } from './notes.js';
import { openCallerImage, openRepositoryImage, type OpenedImage } from './open-image.js';

function report(service: Service, image: OpenedImage, options: ImageOptions, caller: Caller, notes: Notes): Reply {
  const { digest } = image;
  const decision = decide(service.current().policy, { digest }, caller);
  const allowed = decision.verdict === 'allow';
  notes.digest = digest;
  notes.verdict = decision.verdict;
  if (allowed) notes.rule = decision.rule;
  else notes.reason = decision.because;
  const body = encodeCheckReport({
    verdict: decision.verdict,
    rule: allowed ? decision.rule : '',
    because: allowed ? `rule "${decision.rule}" trusts the digest for this caller` : decision.because,
    hint: allowed ? '' : decision.hint,
    digest,
    type: image.header.type,
    nosuid: options.nosuid || (allowed && decision.nosuid),
    noexec: options.noexec || (allowed && decision.noexec),
    // Rules of others are none of a caller's business; root wrote them.
    considered: allowed || caller.uid !== 0 ? [] : decision.considered.map(({ rule, because }) => `${rule}: ${because}`),
  });
  return { signature: 'a{sv}', body: [body] };
}

export async function checkImage(
  service: Service,
  caller: Caller,
  body: readonly unknown[],
  _fds: FdList,
  notes: Notes,
): Promise<Reply> {
  const request = parseCheckImage(body);
  notes.image = request.image.kind === 'digest' ? request.image.digest : request.image.name;
  using image = await openRepositoryImage(service, request, caller, caller.uid !== 0);
  return report(service, image, request.options, caller, notes);
}

export async function checkFile(
  service: Service,
  caller: Caller,
  body: readonly unknown[],
  fds: FdList,
  notes: Notes,
): Promise<Reply> {
  const request = parseCheckFile(body);
  const files = takeFiles(request, fds);
  try {
    using image = await openCallerImage(service, files.file, request, caller, caller.payer);
    return report(service, image, request.options, caller, notes);
  } finally {
    files.close();
  }
}
