/**
 * Which browser and system a user agent string names: for people to recognise a device, and to tell two browsers that use one
 * session. A reader of our own: a dozen families suffice, it need not know every crawler, and what it does not know it does not
 * judge. Versions are left out on purpose, so that an update of a browser changes nothing.
 */
export interface Browser {
  /** `Firefox`; a program's own name, such as `curl`; undefined when the string does not tell. */
  family: string | undefined;
  /** `Windows`. */
  system: string | undefined;
}

const LONGEST = 512;

/** The first that fits counts: most browsers also claim to be those further down. */
const FAMILIES: readonly [RegExp, string][] = [
  [/\bEdg(?:A|iOS)?\//, 'Edge'],
  [/\b(?:OPR|OPT|OPX)\//, 'Opera'],
  [/\bVivaldi\//, 'Vivaldi'],
  [/\bSamsungBrowser\//, 'Samsung Internet'],
  [/\bDuckDuckGo\//, 'DuckDuckGo'],
  [/\b(?:Firefox|FxiOS)\//, 'Firefox'],
  [/\b(?:HeadlessChrome|Chrome|CriOS|Chromium)\//, 'Chrome'],
  [/\bVersion\/[\d.]+.*\bSafari\//, 'Safari'],
];

const SYSTEMS: readonly [RegExp, string][] = [
  [/\bWindows\b/, 'Windows'],
  [/\bAndroid\b/, 'Android'],
  [/\biPhone\b/, 'iPhone'],
  [/\biPad\b/, 'iPad'],
  [/\bMac OS X\b|\bMacintosh\b/, 'macOS'],
  [/\bCrOS\b/, 'ChromeOS'],
  [/\b(?:FreeBSD|OpenBSD)\b/, 'BSD'],
  [/\bLinux\b|\bX11\b/, 'Linux'],
];

/** A phone or tablet that asks for the desktop's page names the desktop's system. */
const SAME_SYSTEM: Readonly<Record<string, string>> = {
  Android: 'Linux',
  ChromeOS: 'Linux',
  iPhone: 'macOS',
  iPad: 'macOS',
};

/** Players of media that fetch for a browser under a name of their own. */
const FETCHES_FOR_BROWSERS = /^(?:AppleCoreMedia|stagefright|Dalvik|NSPlayer|VLC|Lavf)\b/;

export function readBrowser(userAgent: string | null | undefined): Browser {
  const text = (userAgent ?? '').slice(0, LONGEST);
  const system = SYSTEMS.find(([pattern]) => pattern.test(text))?.[1];
  const family = FAMILIES.find(([pattern]) => pattern.test(text))?.[1];
  if (family !== undefined || text.startsWith('Mozilla/')) return { family, system };
  const program = /^[A-Za-z][\w.-]{0,39}/.exec(text)?.[0];
  return { family: FETCHES_FOR_BROWSERS.test(text) ? undefined : program, system };
}

/** For people: `Firefox on Linux`. */
export function describeBrowser(userAgent: string | null | undefined): string {
  const { family, system } = readBrowser(userAgent);
  if (family === undefined) return system === undefined ? 'Unknown' : `A browser on ${system}`;
  return system === undefined ? family : `${family} on ${system}`;
}

/** True only when both strings tell, and tell different things. */
export function differentBrowsers(one: string | null | undefined, other: string | null | undefined): boolean {
  const [a, b] = [readBrowser(one), readBrowser(other)];
  if (a.family !== undefined && b.family !== undefined && a.family !== b.family) return true;
  if (a.system === undefined || b.system === undefined) return false;
  return (SAME_SYSTEM[a.system] ?? a.system) !== (SAME_SYSTEM[b.system] ?? b.system);
}
