// Links into the page: sections open when something in them is asked for, conversations and turns have addresses.
function reveal(element) {
  for (let at = element; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  const own = element.querySelector(":scope > details.part");
  if (own) own.open = true;
}

function follow() {
  const parts = location.hash.slice(1).split("/").map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  if (parts[0] === "talk") {
    if (openTalk) openTalk(parts[1], parts[2], Number(parts[3]) || 0);
    return;
  }
  const target = parts[0] && document.getElementById(parts.join("/"));
  if (!target) return;
  reveal(target);
  target.scrollIntoView({ block: "start" });
}

addEventListener("hashchange", follow);
for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", () => reveal(document.getElementById(link.hash.slice(1))));
// Paper can't be clicked open.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details.part:not([open])")];
  for (const part of closed) part.open = true;
});
addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
if (location.hash.length > 1) {
  follow();
  addEventListener("load", () => setTimeout(follow)); // after the browser has restored where a reader was
}
