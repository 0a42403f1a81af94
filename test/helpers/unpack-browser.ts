/**
 * Unpacks Chromium before any test file starts. Were it unpacked by the first that wants it, another process that is started at that
 * moment would inherit the file while it is open for writing, and whoever starts Chromium then is refused (ETXTBSY).
 */
import sparticuz from '@sparticuz/chromium';

export default async function setup(): Promise<void> {
  await sparticuz.executablePath();
}
