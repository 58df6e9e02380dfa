// CheckImage and CheckFile: the same way as a mount, but nothing is mounted and a refusal is an answer.
import type { FdList, OwnedFd } from '../../core/kernel/fd.js';
import { parseCheckFile, parseCheckImage, type ImageOptions } from '../../core/wire/requests.js';
import { encodeCheckReport, type CheckFacts } from '../../core/wire/results.js';
import { decide, findTrust, type Decision } from '../../policy/decide.js';
import { judgedCaller } from '../judged-caller.js';
import type { Service } from '../service.js';
import type { SignatureFacts } from '../signatures.js';
import type { Caller, Reply } from '../transport/peer.js';
import type { FoundFacts } from '../worker/jobs.js';
import { judgedImage, requirePlacedObjects } from './judge-image.js';
import { takeFiles } from './mount-file.js';
import type { Notes } from './notes.js';
import { openCallerImage, openRepositoryImage, type OpenedImage } from './open-image.js';
import { viewStores, type StoreView } from './stores.js';

interface Checked {
  readonly decision: Decision;
  readonly facts?: CheckFacts;
}

/** Finds out what is in the image if the caller may know: a rule trusts its digest for them, or they are root, who writes the rules. */
async function check(service: Service, image: OpenedImage, stores: StoreView, caller: Caller): Promise<Checked> {
  const loaded = service.current();
  const judged = judgedCaller(loaded, caller);
  const trust = findTrust(loaded.policy, image, judged, Date.now());
  if (trust.verdict === 'deny' && caller.uid !== 0) return { decision: trust };
  const facts = await service.facts.find(image, { canonical: true, user: caller.payer });
  requirePlacedObjects(facts, stores.requireVerity);
  const decision = decide(loaded.policy, judgedImage(image, facts), judged, Date.now());
  return { decision, facts: { ...describeFacts(facts, image), ...(await countObjects(service, image, stores, caller)) } };
}

async function countObjects(service: Service, image: OpenedImage, { directories }: StoreView, caller: Caller) {
  if (image.header.type === 'erofs') return { objects: 0 };
  const { objects, missing } = await service.facts.findObjects(image, directories, caller.payer);
  return directories.length === 0 ? { objects } : { objects, missing };
}

function describeFacts(
  facts: FoundFacts,
  { signedBy = [], signatureProblem = '' }: SignatureFacts,
): Omit<CheckFacts, 'objects' | 'missing'> {
  return {
    entries: facts.entries,
    devices: facts.devices,
    setuid: facts.setUid,
    setgid: facts.setGid,
    fcaps: facts.fileCapabilities,
    'largest-uid': facts.largestUid,
    'largest-gid': facts.largestGid,
    canonical: facts.canonical === true,
    'signed-by': [...signedBy],
    'signature-problem': signatureProblem,
  };
}

function describeDecision(decision: Decision): string {
  if (decision.verdict === 'deny') return decision.because;
  if (decision.verdict === 'ask') return `rule "${decision.rule}" asks polkit to grant ${decision.action}`;
  return `rule "${decision.rule}" trusts the digest for this caller`;
}

function report(image: OpenedImage, { decision, facts }: Checked, options: ImageOptions, caller: Caller, notes: Notes): Reply {
  const { digest } = image;
  const granting = decision.verdict === 'deny' ? undefined : decision;
  notes.digest = digest;
  const because = describeDecision(decision);
  notes.verdict = decision.verdict === 'allow' ? 'allow' : 'deny';
  if (granting) notes.rule = granting.rule;
  if (notes.verdict === 'deny') notes.reason = because;
  const body = encodeCheckReport({
    verdict: decision.verdict,
    rule: granting?.rule ?? '',
    because,
    hint: decision.verdict === 'deny' ? decision.hint : '',
    digest,
    type: image.header.type,
    nosuid: options.nosuid || granting?.nosuid === true,
    noexec: options.noexec || granting?.noexec === true,
    // Rules of others are none of a caller's business; root wrote them.
    considered:
      decision.verdict === 'deny' && caller.uid === 0
        ? decision.considered.map(({ rule, because }) => `${rule}: ${because}`)
        : [],
    ...facts,
  });
  return { signature: 'a{sv}', body: [body] };
}

async function checkAndReport(
  service: Service,
  image: OpenedImage,
  directories: readonly OwnedFd[],
  options: ImageOptions,
  caller: Caller,
  notes: Notes,
): Promise<Reply> {
  const stores = viewStores(service, directories, image.repositories);
  return report(image, await check(service, image, stores, caller), options, caller, notes);
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
  return await checkAndReport(service, image, [], request.options, caller, notes);
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
    return await checkAndReport(service, image, files.directories, request.options, caller, notes);
  } finally {
    files.close();
  }
}
