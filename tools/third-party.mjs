// The licences of what is shipped inside or beside the bundles.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const OUTSIDE = ['koffi']; // not bundled, but shipped

function readLicence(directory, license) {
  const file = readdirSync(directory).find((entry) => /^licen[cs]e(\.|$)/i.test(entry));
  if (file === undefined) return `Its package names the licence ${license}, and holds no text of it.`;
  const text = readFileSync(join(directory, file), 'utf8').trim();
  if (license !== 'Apache-2.0') return text;
  // The text is that of cfsmountd's own licence; who it is from is not.
  const [copyright = ''] = /^ *Copyright (?!\[|notice|owner).*/m.exec(text) ?? [];
  return `${copyright.trim()}\nUnder the Apache License, Version 2.0, as cfsmountd itself.`.trim();
}

function describePackage(name) {
  const directory = join('node_modules', name);
  const { version, license } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  const title = `${name} ${version} (${license})`;
  return `${title}\n${'-'.repeat(title.length)}\n\n${readLicence(directory, license)}\n`;
}

/** `inputs`: paths of all source files that were bundled. */
export function thirdPartyNotices(inputs) {
  const bundled = inputs.flatMap((path) => /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []);
  const packages = [...new Set([...bundled, ...OUTSIDE])].sort();
  return `cfsmountd is shipped with the following packages of others.\n\n${packages.map(describePackage).join('\n\n')}`;
}
