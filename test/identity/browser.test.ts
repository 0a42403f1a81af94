import { describe, expect, test } from 'vitest';
import { describeBrowser, differentBrowsers } from '../../server/identity/sessions/browser.ts';

const AGENTS = {
  firefoxLinux: 'Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0',
  firefoxLinuxNext: 'Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0',
  chromeWindows:
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36',
  edgeWindows:
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0',
  chromeAndroid:
    'Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Mobile Safari/537.36',
  chromeAndroidDesktop:
    'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36',
  safariMac:
    'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15',
  safariIphone:
    'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1',
  playerIphone: 'AppleCoreMedia/1.0.0.22F76 (iPhone; U; CPU OS 18_5 like Mac OS X; en_us)',
  curl: 'curl/8.14.1',
};

describe('a browser by its user agent', () => {
  const words: [keyof typeof AGENTS, string][] = [
    ['firefoxLinux', 'Firefox on Linux'],
    ['chromeWindows', 'Chrome on Windows'],
    ['edgeWindows', 'Edge on Windows'],
    ['chromeAndroid', 'Chrome on Android'],
    ['safariMac', 'Safari on macOS'],
    ['safariIphone', 'Safari on iPhone'],
    ['curl', 'curl'],
  ];
  for (const [name, expected] of words) {
    test(`${name} is ${expected}`, () => {
      expect(describeBrowser(AGENTS[name])).toBe(expected);
    });
  }

  test('nothing, nonsense and a very long one are unknown, and take no time', () => {
    expect(describeBrowser(undefined)).toBe('Unknown');
    expect(describeBrowser('\u0000<script>')).toBe('Unknown');
    expect(describeBrowser(`Mozilla/5.0 ${'Version/1 '.repeat(100_000)}`)).toBe('Unknown');
  });
});

describe('two user agents of one session', () => {
  const same: [keyof typeof AGENTS, keyof typeof AGENTS, string][] = [
    ['firefoxLinux', 'firefoxLinuxNext', 'after an update'],
    ['chromeAndroid', 'chromeAndroidDesktop', 'when a phone asks for the page of the desktop'],
    ['safariIphone', 'safariMac', 'when an iPhone asks for the page of the desktop'],
    ['safariIphone', 'playerIphone', 'when a player fetches for the browser'],
  ];
  for (const [one, other, when] of same) {
    test(`are one browser ${when}`, () => {
      expect(differentBrowsers(AGENTS[one], AGENTS[other])).toBe(false);
    });
  }

  test('are one as far as anybody knows when either does not tell', () => {
    expect(differentBrowsers(AGENTS.firefoxLinux, undefined)).toBe(false);
    expect(differentBrowsers('', AGENTS.chromeWindows)).toBe(false);
  });

  const different: [keyof typeof AGENTS, keyof typeof AGENTS][] = [
    ['firefoxLinux', 'chromeWindows'],
    ['chromeWindows', 'edgeWindows'],
    ['chromeWindows', 'chromeAndroid'],
    ['safariMac', 'curl'],
    ['curl', 'firefoxLinux'],
  ];
  for (const [one, other] of different) {
    test(`${one} and ${other} are two browsers`, () => {
      expect(differentBrowsers(AGENTS[one], AGENTS[other])).toBe(true);
    });
  }
});
