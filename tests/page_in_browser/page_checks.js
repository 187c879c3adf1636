// What is wrong with the page that is open now, as sentences. `arguments[0]`: whether somebody has signed in.
const isSignedIn = arguments[0];
const wrong = [];
const all = (selector) => [...document.querySelectorAll(selector)];
const name = (element) => {
  const id = element.id ? `#${element.id}` : "";
  const classes = [...element.classList].map((word) => `.${word}`).join("");
  return `<${element.localName}${id}${classes}> “${(element.textContent || "").trim().slice(0, 40)}”`;
};
const shown = (element) =>
  element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && element.getClientRects().length > 0;
const unseen = (element) => element.closest(".unseen, .skip") !== null;

// its parts

if (document.documentElement.lang !== "en") wrong.push("no language");
if (!document.title.endsWith(" · Portcullis")) wrong.push(`the title is ${document.title}`);
const pages = all("h1").filter((h1) => !h1.closest("dialog"));
if (pages.length !== 1) wrong.push(`${pages.length} main headings`);
for (const landmark of ["body > header", "main", "body > footer"]) {
  if (all(landmark).length !== 1) wrong.push(`not one ${landmark}`);
}
if (isSignedIn && all("nav[aria-label]").length < 1) wrong.push("no navigation");
const first = document.querySelector("a, button, input");
if (!first.classList.contains("skip") || !document.querySelector(first.hash)) wrong.push("the skip link is not first");
let level = 0;
for (const heading of all("h1, h2, h3, h4")) {
  const own = Number(heading.localName[1]);
  if (own > level + 1 && !heading.closest("dialog")) wrong.push(`${name(heading)} skips a level`);
  level = own;
}
const ids = all("[id]").map((element) => element.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`two elements have the id ${id}`);
for (const element of all("[aria-labelledby], [aria-describedby], label[for]")) {
  for (const attribute of ["aria-labelledby", "aria-describedby", "for"]) {
    for (const id of (element.getAttribute(attribute) || "").split(" ").filter(Boolean)) {
      if (!ids.includes(id)) wrong.push(`${name(element)}: ${attribute} names nothing: ${id}`);
    }
  }
}
for (const field of all("input:not([type=hidden]), select, textarea")) {
  const labels = [...field.labels].map((label) => label.textContent.trim()).join("");
  if (!labels && !field.getAttribute("aria-label")) wrong.push(`${name(field)} has no label`);
}
for (const element of all("a, button, summary")) {
  const own = element.textContent.trim() || element.getAttribute("aria-label");
  if (!own) wrong.push(`${name(element)} has no name`);
}
for (const picture of all("svg, img")) {
  const isLabelled = picture.getAttribute("role") === "img" && picture.getAttribute("aria-label");
  if (!isLabelled && picture.getAttribute("aria-hidden") !== "true") wrong.push(`${name(picture)} has no text`);
}
for (const table of all("table")) {
  if (!table.caption?.textContent.trim()) wrong.push(`${name(table)} has no caption`);
  for (const head of table.querySelectorAll("th")) if (!head.scope) wrong.push(`${name(head)} has no scope`);
  const sorted = table.querySelectorAll("th:is([aria-sort=ascending], [aria-sort=descending])").length;
  if (table.querySelector("th a[data-sort]") && sorted !== 1) wrong.push(`${name(table)}: sorted by ${sorted} columns`);
  for (const link of table.querySelectorAll("th a")) {
    if (!link.closest("th").ariaSort) wrong.push(`${name(link)} sorts, and its header does not say so`);
  }
}

// room

// not innerWidth: on a telephone it grows with what is too wide
const room = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > room) {
  wrong.push(`${document.documentElement.scrollWidth} pixels wide on a screen of ${room}`);
}
const scrolls = (element) => {
  for (let at = element.parentElement; at; at = at.parentElement) {
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(at).overflowX) && at !== document.body) return true;
  }
  return false;
};
for (const element of all("body *")) {
  if (!shown(element) || unseen(element) || element.closest("svg")) continue;
  const box = element.getBoundingClientRect();
  if ((box.right > room + 1 || box.left < -1) && !scrolls(element)) wrong.push(`${name(element)} leaves the screen`);
}
for (const element of all("a, button, summary, input:not([type=hidden]), select, textarea")) {
  if (!shown(element) || unseen(element)) continue;
  // WCAG 2.2, 2.5.8: 24 pixels each way, but for links in sentences and lines of text
  const box = element.getBoundingClientRect();
  const isInText = element.localName === "a" && getComputedStyle(element).display.startsWith("inline");
  if (!isInText && (box.height < 24 || box.width < 24)) {
    wrong.push(`${name(element)} is too small: ${box.width} × ${box.height}`);
  }
}

// contrast (WCAG 2.2, 1.4.3 and 1.4.11)

const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
const painter = canvas.getContext("2d", { willReadFrequently: true });
const parsed = new Map();
// red, green, blue and opacity of any colour that CSS knows
const colour = (css) => {
  if (!parsed.has(css)) {
    painter.clearRect(0, 0, 1, 1);
    painter.fillStyle = css;
    painter.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = painter.getImageData(0, 0, 1, 1).data;
    parsed.set(css, [red, green, blue, alpha / 255]);
  }
  return parsed.get(css);
};
const over = ([r, g, b, a], under) => [r, g, b].map((part, at) => part * a + under[at] * (1 - a));
const ground = (element) => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(colour(getComputedStyle(at).backgroundColor));
  return layers.reduceRight((under, layer) => over(layer, under), [255, 255, 255]);
};
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((part) => (part <= 10.3 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const judge = (what, front, back, least) => {
  const found = contrast(over(front, back), back);
  if (found < least) wrong.push(`${what}: a contrast of ${found.toFixed(2)}, not ${least}`);
};
const texts = new Set();
for (const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); walker.nextNode(); ) {
  if (walker.currentNode.textContent.trim()) texts.add(walker.currentNode.parentElement);
}
for (const element of texts) {
  if (!shown(element) || unseen(element)) continue;
  const style = getComputedStyle(element);
  const size = parseFloat(style.fontSize);
  const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const front = element.closest("svg") ? style.fill : style.color;
  judge(name(element), colour(front), ground(element), isLarge ? 3 : 4.5);
}
for (const field of all("input:not([type=hidden], [type=checkbox]), select, textarea")) {
  if (!shown(field)) continue;
  const border = colour(getComputedStyle(field).borderTopColor);
  judge(`the border of ${name(field)}`, border, ground(field.parentElement), 3);
  const placeholder = colour(getComputedStyle(field, "::placeholder").color);
  if (field.placeholder) judge(`the placeholder of ${name(field)}`, placeholder, ground(field), 4.5);
}
for (const part of all(".state svg, .legend rect, .minute rect, .menu svg, .copy svg")) {
  if (!shown(part)) continue;
  const style = getComputedStyle(part);
  const paint = style.stroke === "none" ? style.fill : style.stroke;
  judge(`the picture in ${name(part.closest("li, .state, summary, button, figure"))}`, colour(paint), ground(part), 3);
}

// what moves

if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
  for (const element of all("*")) {
    const style = getComputedStyle(element);
    if (style.transitionDuration !== "0s" || style.animationName !== "none") wrong.push(`${name(element)} moves`);
  }
}
return wrong;
