/**
 * From the blocks of a template to text and HTML. The HTML is whole in itself: nothing is fetched, everything is escaped, and it sets
 * colours for light and dark so that no client has to guess.
 */
import { HoldfastError } from '../lib/errors.ts';
import type { Block, ComposedMail } from './templates/template.ts';

export interface RenderedMail {
  subject: string;
  text: string;
  html: string;
}

const SUBJECT_LIMIT = 200;
/** Gmail cuts a message of more than about 100 KiB. */
const SIZE_LIMIT_BYTES = 100 * 1024;

const STYLE = `
body{margin:0;padding:24px;background:#f6f8f7;color:#14201e;font:16px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}
main{max-width:560px;margin:0 auto;padding:24px;border:1px solid #d8dfdd;border-radius:6px;background:#ffffff}
p{margin:0 0 16px}
a.button{display:inline-block;padding:8px 16px;border-radius:6px;background:#0b6b5d;color:#ffffff;text-decoration:none}
a.address{color:#0b6b5d;overflow-wrap:anywhere}
th{padding:2px 16px 2px 0;color:#53615e;font-weight:400;text-align:left;vertical-align:top}
td{padding:2px 0;overflow-wrap:anywhere}
table{margin:0 0 16px;border-collapse:collapse}
footer{max-width:560px;margin:16px auto 0;color:#53615e;font-size:13px}
@media (prefers-color-scheme:dark){
body{background:#0f1514;color:#e6edeb}
main{border-color:#2c3836;background:#161d1c}
a.button{background:#4fc3ae;color:#06231e}
a.address{color:#4fc3ae}
th,footer{color:#9aa9a5}
}`;

/**
 * @param footer last words, such as which appliance sent it.
 * @throws HoldfastError `internal` for a link that is not https; `too_large` above 100 KiB.
 */
export function renderMail(composed: ComposedMail, footer: string): RenderedMail {
  const subject = oneLine(composed.subject).slice(0, SUBJECT_LIMIT);
  const text = `${composed.blocks.map(toText).join('\n\n')}\n\n-- \n${footer}\n`;
  const html = [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">',
    `<title>${escapeHtml(subject)}</title><style>${STYLE}</style></head>`,
    `<body><main>${composed.blocks.map(toHtml).join('\n')}</main>`,
    `<footer>${escapeHtml(footer)}</footer></body></html>\n`,
  ].join('\n');
  if (Buffer.byteLength(text) + Buffer.byteLength(html) > SIZE_LIMIT_BYTES)
    throw new HoldfastError('too_large', 'This message is longer than 100 KiB');
  return { subject, text, html };
}

/** Control characters, line breaks among them, become spaces: nothing of a name can begin a header of its own. */
export function oneLine(words: string): string {
  return words.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ').trim();
}

function toText(block: Block): string {
  switch (block.kind) {
    case 'paragraph':
      return block.words;
    case 'link':
      return `${block.label}:\n${checkLink(block.url)}`;
    case 'facts':
      return block.facts.map(([name, value]) => `${name}: ${oneLine(value)}`).join('\n');
  }
}

function toHtml(block: Block): string {
  switch (block.kind) {
    case 'paragraph':
      return `<p>${escapeHtml(block.words)}</p>`;
    case 'link': {
      const url = escapeHtml(checkLink(block.url));
      return `<p><a class="button" href="${url}">${escapeHtml(block.label)}</a></p><p><a class="address" href="${url}">${url}</a></p>`;
    }
    case 'facts': {
      const rows = block.facts.map(
        ([name, value]) =>
          `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(oneLine(value))}</td></tr>`,
      );
      return `<table>${rows.join('')}</table>`;
    }
  }
}

function checkLink(url: string): string {
  if (URL.canParse(url) && new URL(url).protocol === 'https:' && !/[\s\p{Cc}]/u.test(url)) return url;
  throw new HoldfastError('internal', 'A link in a message is not an https address');
}

function escapeHtml(words: string): string {
  const escapes: Record<string, string> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return words.replace(/[&<>"']/g, (character) => escapes[character] ?? '');
}
