// What a manual page in man/ lists, read from its mdoc(7) source.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from '../support/machine.js';

/** Lines of a page by section, and below that by subsection ('' before the first). */
export type Page = ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;

const title = (line: string): string => line.slice(4).replaceAll('\\&', '').trim();

export function readPage(name: string): Page {
  const page = new Map<string, Map<string, string[]>>();
  let section = new Map<string, string[]>();
  let lines: string[] = [];
  for (const line of readFileSync(join(ROOT, 'man', name), 'utf8').split('\n')) {
    if (line.startsWith('.Sh ')) page.set(title(line), (section = new Map([['', (lines = [])]])));
    else if (line.startsWith('.Ss ')) section.set(title(line), (lines = []));
    else lines.push(line);
  }
  return page;
}

export function linesOf(page: Page, section: string, subsection = ''): readonly string[] {
  const lines = page.get(section)?.get(subsection);
  if (!lines) throw new Error(`the page has no section ${section} ${subsection}`);
  return lines;
}

export function subsectionsOf(page: Page, section: string): string[] {
  return [...(page.get(section)?.keys() ?? [])].filter((name) => name !== '');
}

function matches(lines: readonly string[], pattern: RegExp): string[][] {
  return lines.flatMap((line) => {
    const match = pattern.exec(line);
    return match ? [[...match]] : [];
  });
}

/** `--name argument` of each item `.It Fl -name Ar argument`; of `.It Fl x , Fl -name` the long form. */
export function listedFlags(lines: readonly string[]): string[] {
  return matches(lines, /^\.It Fl (?:\w , Fl )?-([a-z-]+)(?: Ar ([a-z]+))?$/).map(([, name, argument]) =>
    joinWords(`--${name}`, argument),
  );
}

/** `--name argument` of each `.Op Fl -name Ar argument`. */
export function optionalFlags(lines: readonly string[]): string[] {
  return matches(lines, /^\.Op Fl -([a-z-]+)(?: Ar ([a-z]+))?$/).map(([, name, argument]) => joinWords(`--${name}`, argument));
}

/** The words of each `.Ar word …` and `.Op Ar word …`. */
export function argumentNames(lines: readonly string[]): string[] {
  const words = matches(lines, /^\.(?:Op )?Ar (.*)$/).flatMap(([, names]) => names!.split(' '));
  return words.filter((word) => word !== '...' && word !== 'options');
}

/** The words of each `.It Ic word …` before a parenthesis or an equals sign. */
export function listedKeys(lines: readonly string[]): string[] {
  return matches(lines, /^\.It Ic ([a-z-]+) (?:No =|Pq)/).map(([, key]) => key!);
}

/** `key type` of each `.It Ic key Pq type`, or of another macro. */
export function listedTypes(lines: readonly string[], macro = 'Ic'): string[] {
  return matches(lines, new RegExp(`^\\.It ${macro} ([\\w-]+) Pq (\\S+)$`)).map(([, key, type]) => `${key} ${type}`);
}

/** `Name(type name, …) → type name, …` of each `.It Fn`. */
export function listedMethods(lines: readonly string[]): string[] {
  return matches(lines, /^\.It Fn (\w+)((?: "[^"]*")*)(?: No \\\(-> (.*))?$/).map(([, name, quoted = '', out = '']) => {
    const args = [...quoted.matchAll(/"([^"]*)"/g)].map(([, argument]) => argument);
    return `${name}(${args.join(', ')}) → ${out}`;
  });
}

/** Names of each `.It Er Name`. */
export function listedErrors(lines: readonly string[]): string[] {
  return matches(lines, /^\.It Er (\w+)$/).map(([, name]) => name!);
}

function joinWords(name: string, argument: string | undefined): string {
  return argument === undefined ? name : `${name} ${argument}`;
}
