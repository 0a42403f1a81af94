/** Whether mail can be sent, for pages that must say what cannot be. */
import type { Database } from '../lib/db.ts';
import { findSettings } from './queries.ts';

export interface MailState {
  /** `off`: no mail server is set up. `paused`: by a person. `failing`: the last try failed for a reason that is not the message's. */
  state: 'off' | 'paused' | 'failing' | 'ready';
  /** Whether a message queued now would be sent, sooner or later. */
  sends: boolean;
}

export async function mailState(db: Database): Promise<MailState> {
  const settings = await findSettings(db);
  if (settings === undefined) return { state: 'off', sends: false };
  if (settings.paused) return { state: 'paused', sends: true };
  return { state: settings.problem === null ? 'ready' : 'failing', sends: true };
}
