/**
 * The little XML that S3 speaks: flat elements without attributes that matter. Names of objects are asked for percent-encoded, so
 * that no text needs more than the five entities; whatever a hostile server writes becomes a string or nothing.
 */

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** Text of the first element of that name; undefined when there is none. */
export function textOf(xml: string, name: string): string | undefined {
  const [block] = blocksOf(xml, name);
  const [, verbatim] = /^\s*<!\[CDATA\[(.*)\]\]>\s*$/s.exec(block ?? '') ?? [];
  if (verbatim !== undefined) return verbatim;
  return block?.replace(/&(?:(amp|lt|gt|quot|apos)|#(\d{1,7}));/g, (_, entity?: string, code?: string) =>
    entity === undefined ? String.fromCodePoint(Math.min(Number(code), 0x10_ffff)) : (ENTITIES[entity] ?? ''),
  );
}

/** What lies between the tags of every element of that name, in order. Elements that hold one of their own name are not expected. */
export function blocksOf(xml: string, name: string): string[] {
  const blocks: string[] = [];
  const start = new RegExp(`<${name}(?:\\s[^<>]*)?>`, 'g');
  const end = `</${name}>`;
  for (let match = start.exec(xml); match !== null; match = start.exec(xml)) {
    const from = match.index + match[0].length;
    const to = xml.indexOf(end, from);
    if (to < 0) break;
    blocks.push(xml.slice(from, to));
    start.lastIndex = to + end.length;
  }
  return blocks;
}

export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${String(character.codePointAt(0))};`);
}
