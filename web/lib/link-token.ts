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

export const CUT_LINK = {
  message: 'This link is not whole',
  hint: 'Open it again from the mail, or copy all of it.',
};
