/** Every template by its name, which is what the log keeps: a name is never given another meaning. */
import { accessReview } from './access-review.ts';
import { administratorJoined } from './administrator-joined.ts';
import { alert } from './alert.ts';
import { approvalEnded } from './approval-ended.ts';
import { approvalRequested } from './approval-requested.ts';
import { certificateExpiry } from './certificate-expiry.ts';
import { emailConfirmation } from './email-confirmation.ts';
import { invitation } from './invitation.ts';
import { magicLink } from './magic-link.ts';
import { passwordReset } from './password-reset.ts';
import { apiKeyEnding } from './api-key-ending.ts';
import { registerDue } from './register-due.ts';
import { registerOverdue } from './register-overdue.ts';
import { securityNotice } from './security-notice.ts';
import type { MailTemplate } from './template.ts';
import { testMessage } from './test-message.ts';

export const TEMPLATES = {
  'access-review': accessReview,
  'administrator-joined': administratorJoined,
  alert,
  'approval-ended': approvalEnded,
  'approval-requested': approvalRequested,
  'certificate-expiry': certificateExpiry,
  'api-key-ending': apiKeyEnding,
  'email-confirmation': emailConfirmation,
  invitation,
  'magic-link': magicLink,
  'password-reset': passwordReset,
  'register-due': registerDue,
  'register-overdue': registerOverdue,
  'security-notice': securityNotice,
  'test-message': testMessage,
};

export type TemplateName = keyof typeof TEMPLATES;

/** What a template is given. */
export type TemplateData<Name extends TemplateName> = Parameters<(typeof TEMPLATES)[Name]['compose']>[0];

/** The template of a message of the queue; undefined when a later version wrote it. */
export function findTemplate(name: string): MailTemplate<never> | undefined {
  return Object.hasOwn(TEMPLATES, name) ? TEMPLATES[name as TemplateName] : undefined;
}
