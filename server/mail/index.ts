/** The front door of the mail module. */
export { checkMailHealth } from './mail-health.ts';
export { tidyMail } from './mail-log.ts';
export { mailState, type MailState } from './mail-state.ts';
export {
  queueMail,
  type Mail,
  type MailRecipient,
  type QueuedMail,
  type QueueMailDeps,
} from './queue-mail.ts';
export { mailRoutes } from './routes.ts';
export { sendNext, startMailSender, type MailPerson, type SendDeps } from './send-mail.ts';
export type { TemplateData, TemplateName } from './templates/all-templates.ts';
