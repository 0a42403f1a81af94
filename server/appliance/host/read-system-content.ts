/**
 * What of a machine lies in a snapshot, read by the same shapes as the machine itself reads it by. Pure: whoever restores or tests a snapshot
 * gives the bytes.
 */
import { Type, type TSchema, type Static } from 'typebox';
import { Value } from 'typebox/value';
import type { SystemContent } from '../../restore-tests/index.ts';
import { messageOf } from '../../lib/errors.ts';
import { ImageFacts } from './image-facts.ts';
import { checkNetworkSettings, SettingsFile } from './network/settings.ts';
import { Slot } from './updates/schema.ts';

/** As `keepSystemFacts` writes it. */
const SystemFile = Type.Object({
  format: Type.Literal(1),
  image: ImageFacts,
  imageFile: Type.Object({
    name: Type.String({ pattern: '^[A-Za-z0-9_.+-]{1,200}$' }),
    sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  }),
  slots: Type.Array(Slot),
});

const LUKS2 = Buffer.from('4c554b53babe0002', 'hex');
const PACKAGE_LINE = /^[a-z0-9][a-z0-9+.-]*(?::[a-z0-9]+)? \S+ \S+$/;

export function readSystemContent(files: ReadonlyMap<string, Buffer>): SystemContent {
  const content: SystemContent = { there: [], missing: [], wrong: [] };
  const read = (path: string, words: string, act: (bytes: Buffer) => string): void => {
    const bytes = files.get(path);
    if (bytes === undefined) {
      content.missing.push(words);
      return;
    }
    try {
      content.there.push(act(bytes));
    } catch (error) {
      content.wrong.push(`${path}: ${messageOf(error)}`);
    }
  };
  read('system.json', 'facts about the machine (system.json)', (bytes) => {
    const { image, imageFile, slots } = parse(bytes, SystemFile);
    content.image = { path: `image/${imageFile.name}`, sha256: imageFile.sha256 };
    const noted = files.get(`image/${imageFile.name}.sha256`)?.toString('utf8').trim();
    if (noted !== imageFile.sha256)
      content.wrong.push(`image/${imageFile.name}.sha256: another hash than in system.json`);
    return `image ${image.version}, ${slots.length} slots`;
  });
  if (!files.has('system.json')) content.missing.push('the image');
  read('settings.json', 'settings of the network: none were made, or they were not kept', (bytes) => {
    checkNetworkSettings(parse(bytes, SettingsFile).network ?? {});
    return 'settings of the network, as the machine takes them';
  });
  read('luks-header.img', 'header of the encrypted data volume', (bytes) => {
    if (!bytes.subarray(0, LUKS2.length).equals(LUKS2)) throw new Error('no header of LUKS 2');
    return 'header of the encrypted data volume (LUKS 2)';
  });
  read('packages.txt', 'list of packages', (bytes) => {
    const lines = bytes
      .toString('utf8')
      .split('\n')
      .filter((line) => line !== '');
    const odd = lines.find((line) => !PACKAGE_LINE.test(line));
    if (odd !== undefined) throw new Error('a line names no package with version and architecture');
    return lines.length === 0 ? 'a list of packages that is empty' : `${lines.length} packages with versions`;
  });
  content.missing.push(...NEVER_KEPT);
  return content;
}

/** Told in each report, so that nobody counts on it. */
const NEVER_KEPT = [
  'by design: keys and passwords that unlock the volume or its shares, and the journal',
  'not made by this version: a licence, a list of components of the program (SBOM)',
];

function parse<T extends TSchema>(bytes: Buffer, schema: T): Static<T> {
  const value: unknown = JSON.parse(bytes.toString('utf8'));
  if (Value.Check(schema, value)) return value;
  const [first] = Value.Errors(schema, value);
  throw new Error(`not in the shape that this version reads${first ? `: ${first.message}` : ''}`);
}
