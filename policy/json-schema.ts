import * as z from 'zod';
import { policyFile } from './schema.js';

/** JSON Schema (draft 2020-12) of a policy file, for editors: keys, types and ranges. What goes together, and whether names and digests exist, only reading it tells. */
export function policyJsonSchema(): object {
  const schema = z.toJSONSchema(policyFile, { io: 'input', override: showDates });
  return { title: 'Policy file of cfsmountd, cfsmountd-policy(5)', ...schema };
}

function showDates({ jsonSchema, path }: { jsonSchema: Record<string, unknown>; path: readonly PropertyKey[] }): void {
  const key = path.at(-1);
  if (key === 'not-before' || key === 'not-after') jsonSchema['examples'] = ['2027-01-31T12:00:00Z', '2027-01-31'];
}
