/** The token of a link, which stands in the fragment of the address and is taken out of it at once: it must not stay in the history. */
function takeLinkToken(): string {
  const token = location.hash.slice(1);
  history.replaceState(history.state, '', location.pathname);
  return token;
}

/** Gives the token now, and again when a link is put into the address of the same page. @returns what ends that. */
export function onLinkToken(take: (token: string) => void): () => void {
  const again = (): void => {
    if (location.hash !== '') take(takeLinkToken());
  };
  take(takeLinkToken());
  addEventListener('hashchange', again);
  return () => removeEventListener('hashchange', again);
}

/** 32 bytes in base64url: less is a link that was cut. */
export function isWholeToken(token: string): boolean {
  return /^[\w-]{43}$/.test(token);
}

/** What is wrong with a link whose token is not whole: a page that is loaded again has none left. */
export function brokenLink(token: string): { message: string; hint: string } {
  if (token === '')
    return {
      message: 'The address of this page holds no link any more',
      hint: 'It is taken out when the page opens, so a reload loses it. Open the link again; it works until it is used or runs out.',
    };
  return { message: 'This link is not whole', hint: 'Open it again from the mail, or copy all of it.' };
}
