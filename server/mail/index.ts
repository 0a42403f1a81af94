/** The front door of the mail module. */
export { mailState, type MailState } from './mail-state.ts';
export {
  queueMail,
  type Mail,
  type MailRecipient,
  type QueuedMail,
  type QueueMailDeps,
} from './queue-mail.ts';
export type { TemplateData, TemplateName } from './templates/all-templates.ts';
