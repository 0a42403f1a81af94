/** The unlock page: plain HTML without script, readable by any browser and in any state of the machine. */
import type { DeskState } from './desk.ts';

export interface PageFacts {
  state: DeskState;
  hostName: string;
  /** Said above the form after an attempt. */
  problem?: { message: string; hint?: string | undefined } | undefined;
}

/** Seconds after which a page that waits looks again. */
const LOOK_AGAIN_SECONDS = 5;

export function renderUnlockPage({ state, hostName, problem }: PageFacts): string {
  const asks = state.kind === 'locked' || state.kind === 'take-over';
  const refresh = asks ? '' : `<meta http-equiv="refresh" content="${LOOK_AGAIN_SECONDS}; url=/">`;
  const sentences = state.sentences.map((sentence) => `<p>${escapeHtml(sentence)}</p>`).join('\n');
  const said =
    problem === undefined
      ? ''
      : `<div class="problem" role="alert"><strong>${escapeHtml(problem.message)}</strong>${
          problem.hint === undefined ? '' : `<br>${escapeHtml(problem.hint)}`
        }</div>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${refresh}
<title>${escapeHtml(state.title)} · Holdfast</title>
<link rel="stylesheet" href="/unlock.css">
</head>
<body>
<main>
<p class="product">Holdfast · ${escapeHtml(hostName)}</p>
<h1>${escapeHtml(state.title)}</h1>
${sentences}
${said}
${asks ? FORM(state.kind === 'take-over' ? 'Take over' : 'Unlock') : ''}
<p class="note">Compare the fingerprint of this page’s certificate with the one on the console before you type a key.</p>
</main>
</body>
</html>
`;
}

const FORM = (verb: string) => `<form method="post" action="/unlock" autocomplete="off">
<label for="key">Passphrase or recovery key</label>
<input id="key" name="key" type="password" maxlength="512" required autofocus autocomplete="off" spellcheck="false">
<button type="submit">${verb}</button>
</form>`;

export const PAGE_STYLE = `:root { color-scheme: light dark; --line: #8884; --accent: #2f6fde; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --accent: #8ab4f8; --bad: #f2b8b5; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 32rem; margin: 12vh auto 0; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; }
.product, .note { font-size: .875rem; opacity: .75; }
.problem { border-left: 4px solid var(--bad); padding: .5rem .75rem; margin: 1rem 0; }
form { border: 1px solid var(--line); border-radius: 8px; padding: 1rem; margin: 1.5rem 0; }
label { display: block; margin-bottom: .25rem; }
input { font: inherit; width: 100%; padding: .5rem; border: 1px solid #888; border-radius: 4px; }
button { font: inherit; margin-top: .75rem; padding: .5rem 1.25rem; border: 1px solid var(--accent); border-radius: 4px;
  background: none; color: inherit; cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
`;

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
