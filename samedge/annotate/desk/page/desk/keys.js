// Buttons and keys of the desk's page.

const byId = (id) => document.getElementById(id);

/** Tie the page's buttons and keys to a desk. */
export function wire(desk) {
  const buttons = {
    accept: () => desk.decideActive("accepted"), reject: () => desk.decideActive("rejected"),
    "accept-rest": () => desk.decideRest("accepted"), "reject-rest": () => desk.decideRest("rejected"),
    "ask-model": () => desk.sitting?.askModel(), "new-object": () => desk.newObject(),
    undo: () => desk.undo(), redo: () => desk.redo(),
    done: () => desk.finish("done"), skip: () => desk.finish("skipped"), back: () => desk.sitting?.back(),
    "list-open": () => desk.openList(), "list-close": () => byId("list").close(), export: () => desk.export(),
    "finished-list": () => desk.openList(), "finished-again": () => desk.sitting.next(),
    "help-open": () => byId("help").showModal(), "help-close": () => byId("help").close(),
    "alert-close": () => (byId("alert").hidden = true),
  };
  for (const [id, handler] of Object.entries(buttons)) byId(id).addEventListener("click", () => handler());
  byId("category-form").addEventListener("submit", (event) => {
    event.preventDefault();
    desk.addCategory(byId("category-new").value);
    byId("category-new").value = "";
    byId("stage").focus({ preventScroll: true });
  });
  addEventListener("keydown", (event) => {
    if (isElsewhere(event)) return;
    const key = event.key.toLowerCase();
    const isHandled = event.ctrlKey || event.metaKey ? withControl(desk, key, event.shiftKey) : alone(desk, key, event.shiftKey);
    if (isHandled) event.preventDefault();
  });
}

function isElsewhere(event) {
  const isTyping = event.target.matches?.("input[type=text], input[type=search], select, textarea");
  return isTyping || document.querySelector("dialog[open]") || event.altKey || event.defaultPrevented;
}

function withControl(desk, key, isShifted) {
  if (key === "z") isShifted ? desk.redo() : desk.undo();
  else if (key === "y") desk.redo();
  else return false;
  return true;
}

function alone(desk, key, isShifted) {
  const decide = (decision) => (isShifted ? desk.decideRest(decision) : desk.decideActive(decision));
  const actions = {
    a: () => decide("accepted"), r: () => decide("rejected"),
    j: () => desk.review.step(1), k: () => desk.review.step(-1),
    d: () => desk.finish("done"), s: () => desk.finish("skipped"), p: () => desk.sitting?.back(),
    n: () => desk.newObject(), c: () => desk.nextCandidate(), e: () => desk.canEdit && desk.sitting.askModel(),
    l: () => desk.openList(), q: () => desk.setTool("pick"), w: () => desk.setTool("add"), x: () => desk.setTool("remove"),
    "?": () => byId("help").showModal(),
  };
  if (/^[0-9]$/.test(key)) {
    const name = desk.categoryList.ofKey(Number(key));
    if (name !== undefined) desk.categorise(name);
    return name !== undefined;
  }
  actions[key]?.();
  return Object.hasOwn(actions, key);
}
