// What the page does better with a script. Without one everything works too: forms are pages of their own, menus are
// <details>, and what is to be copied can be selected.
"use strict";

(() => {
  const live = document.getElementById("live");

  function say(text) {
    const line = document.createElement("span");
    line.className = "unseen";
    line.textContent = text;
    live.append(line);
    setTimeout(() => line.remove(), 4000);
  }

  // copying

  // Browsers give the clipboard to pages over TLS and of this machine only; elsewhere the old way still works.
  async function toClipboard(text) {
    if (navigator.clipboard && window.isSecureContext) {
      try {
        await navigator.clipboard.writeText(text);
        return true;
      } catch {
        // not permitted: the old way
      }
    }
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("readonly", "");
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }

  async function copy(button) {
    const from = button.dataset.copyFrom;
    const text = from ? document.getElementById(from).textContent : button.dataset.copy;
    const focused = document.activeElement;
    const copied = await toClipboard(text);
    focused?.focus();
    say(copied ? "Copied." : "This browser does not let the page copy: select the text instead.");
    button.classList.toggle("is-copied", copied);
    button.dataset.copied = String(copied);
    setTimeout(() => button.classList.remove("is-copied"), 1500);
  }

  // Makes a file of what the page shows: nothing is asked of the gateway again.
  function download(button) {
    const text = document.getElementById(button.dataset.downloadFrom).textContent;
    const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = button.dataset.fileName;
    link.click();
    URL.revokeObjectURL(url);
    say("Downloaded.");
  }

  // dialogs

  // Opens a form that is a page of its own as a dialog over this page. Escape closes it, and the browser gives the
  // focus back to the link. What goes wrong leads to the page instead.
  async function openDialog(link) {
    let content;
    try {
      const answer = await fetch(link.href, { credentials: "same-origin" });
      if (!answer.ok || answer.redirected) throw new Error("not a form");
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      content = page.querySelector("[data-dialog-content]");
      if (!content) throw new Error("not a form");
    } catch {
      location.assign(link.href);
      return;
    }
    const menu = link.closest("[data-menu]");
    (menu ? menu.querySelector("summary") : link).focus();
    if (menu) menu.open = false;
    const dialog = document.createElement("dialog");
    dialog.setAttribute("aria-labelledby", content.querySelector("h1").id);
    dialog.append(content);
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", (event) => {
      if (event.target.closest("[data-cancel]")) {
        event.preventDefault();
        dialog.close();
      }
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".copy");
    if (button) {
      copy(button);
      return;
    }
    const file = event.target.closest("[data-download-from]");
    if (file) {
      download(file);
      return;
    }
    const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    const link = event.target.closest("a[data-dialog]");
    if (link && plain) {
      event.preventDefault();
      openDialog(link);
    }
  });

  // menus

  function closeMenus(except) {
    for (const menu of document.querySelectorAll("[data-menu][open]")) {
      if (menu !== except) menu.open = false;
    }
  }

  document.addEventListener("click", (event) => closeMenus(event.target.closest("[data-menu]")));
  document.addEventListener("focusin", (event) => closeMenus(event.target.closest("[data-menu]")));
  document.addEventListener("keydown", (event) => {
    const menu = event.target.closest?.("[data-menu]");
    if (!menu) return;
    const entries = [...menu.querySelectorAll(".items > a, .items > button")];
    const at = entries.indexOf(document.activeElement);
    if (event.key === "Escape" && menu.open) {
      menu.open = false;
      menu.querySelector("summary").focus();
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      menu.open = true;
      entries[(at + 1) % entries.length].focus();
    } else if (event.key === "ArrowUp" && menu.open) {
      event.preventDefault();
      entries[(at <= 0 ? entries.length : at) - 1].focus();
    }
  });

  // forms

  // A choice made with a mouse or a finger is sent at once. The arrow keys go through the choices one by one: Enter
  // sends the one that they have come to (WCAG 2.2, 3.2.2).
  for (const select of document.querySelectorAll("form[data-auto-submit] select")) {
    let isPointed = false;
    select.addEventListener("mousedown", () => { isPointed = true; });
    const sent = select.value;
    select.addEventListener("keydown", (event) => {
      isPointed = false;
      if (event.key === "Enter" && select.value !== sent) {
        event.preventDefault();
        select.form.requestSubmit();
      }
    });
    select.addEventListener("change", () => { if (isPointed) select.form.requestSubmit(); });
  }

  // The lists' own boxes are sent in the address, where no secret may stand: what follows an access key and a colon is
  // cut off. The box at the top of the page needs no script for that.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "get") return;
    for (const input of event.target.querySelectorAll("input[type=search], [data-access-key]")) {
      input.value = input.value.replace(/^(\s*[^\s:]+):\S+\s*$/, "$1");
    }
  }, true);

  // a second click must not send a second time
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "true";
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // the chart: the values of the minute under the pointer, or of the one that the arrow keys have come to

  const chart = document.querySelector("#chart > svg");
  if (chart) {
    const value = document.getElementById("chart-value");
    const minutes = [...chart.querySelectorAll(".slot")];
    let shown = minutes.length;
    const show = (at) => {
      minutes[shown]?.classList.remove("is-chosen");
      shown = at;
      minutes[at].classList.add("is-chosen");
      value.textContent = minutes[at].querySelector("title").textContent;
    };
    value.hidden = false;
    chart.tabIndex = 0;
    chart.addEventListener("pointerover", (event) => {
      const minute = event.target.closest(".slot");
      if (minute) show(minutes.indexOf(minute));
    });
    chart.addEventListener("keydown", (event) => {
      const last = minutes.length - 1;
      const to = { ArrowLeft: shown - 1, ArrowRight: shown + 1, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(Math.max(0, Math.min(last, to)));
    });
  }

  for (const button of document.querySelectorAll(".copy[hidden], [data-download-from][hidden]")) button.hidden = false;
})();
