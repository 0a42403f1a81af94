/* global document, MutationObserver */
// The page names its logo by nothing: here is its name, and the way back to the console.
const named = new MutationObserver(() => {
  const link = document.querySelector('#swagger-ui .topbar a.link');
  const logo = link?.querySelector('img');
  if (!logo) return;
  named.disconnect();
  logo.alt = '';
  link.href = '/';
  link.append('Holdfast API');
});
named.observe(document.body, { childList: true, subtree: true });
