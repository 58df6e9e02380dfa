// Tar archives made byte by byte, the wrong ones too.

const BLOCK = 512;

/** What is not given is as for an ordinary file of root's. Text is taken as UTF-8. */
export interface TarFields {
  readonly name: string | Buffer;
  readonly type?: string;
  readonly data?: string | Buffer;
  readonly link?: string | Buffer;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  /** As in the header, where that is not the length of the data. */
  readonly size?: number | Buffer;
  readonly major?: number;
  readonly minor?: number;
  readonly magic?: string;
  readonly prefix?: string;
  /** Records of an extended header before it. */
  readonly pax?: Readonly<Record<string, string | Buffer>>;
  /** Changes the header after its checksum was made. */
  readonly damage?: (header: Buffer) => void;
  /** Changes it before. */
  readonly change?: (header: Buffer) => void;
}

export function tarEntry(fields: TarFields): Buffer {
  const { name, type = '0', pax } = fields;
  const data = Buffer.from((fields.data ?? '') as string);
  const extension = pax === undefined ? [] : [tarEntry({ name: 'pax', type: 'x', data: paxRecords(pax), mtime: 0 })];
  const header = Buffer.alloc(BLOCK);
  put(header, 0, 100, name);
  putOctal(header, 100, 8, fields.mode ?? (type === '5' ? 0o755 : 0o644));
  putOctal(header, 108, 8, fields.uid ?? 0);
  putOctal(header, 116, 8, fields.gid ?? 0);
  if (Buffer.isBuffer(fields.size)) fields.size.copy(header, 124);
  else putOctal(header, 124, 12, fields.size ?? data.length);
  putOctal(header, 136, 12, fields.mtime ?? 1_700_000_000);
  header.write(type, 156, 'latin1');
  put(header, 157, 100, fields.link ?? '');
  header.write(fields.magic ?? 'ustar\x0000', 257, 'latin1');
  putOctal(header, 329, 8, fields.major ?? 0);
  putOctal(header, 337, 8, fields.minor ?? 0);
  put(header, 345, 155, fields.prefix ?? '');
  fields.change?.(header);
  header.fill(' ', 148, 156);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  fields.damage?.(header);
  return Buffer.concat([...extension, header, data, Buffer.alloc(-data.length & (BLOCK - 1))]);
}

function put(header: Buffer, at: number, length: number, text: string | Buffer): void {
  const bytes = Buffer.from(text as string);
  if (bytes.length > length) throw new RangeError(`${String(text)} is too long for a header`);
  bytes.copy(header, at);
}

function putOctal(header: Buffer, at: number, length: number, value: number): void {
  header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
}

export function paxRecords(records: Readonly<Record<string, string | Buffer>>): Buffer {
  return Buffer.concat(
    Object.entries(records).map(([key, value]) => {
      const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value as string), Buffer.from('\n')]);
      let length = rest.length;
      while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
      return Buffer.concat([Buffer.from(String(length)), rest]);
    }),
  );
}

/** A long name as GNU tar has it, before the entry that it belongs to. */
export function gnuLong(kind: 'L' | 'K', text: string): Buffer {
  return tarEntry({ name: '././@LongLink', type: kind, data: `${text}\0`, magic: 'ustar  \0' });
}

export const END_OF_TAR = Buffer.alloc(2 * BLOCK);

/** Entries, by their fields or as bytes, and the end. */
export function tarFile(...entries: readonly (TarFields | Buffer)[]): Buffer {
  return Buffer.concat([...entries.map((entry) => (Buffer.isBuffer(entry) ? entry : tarEntry(entry))), END_OF_TAR]);
}
