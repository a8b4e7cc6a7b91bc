// Order of the results of the search: chapters of the guide before pages of classes, and pages
// whose own title has the words before those that only mention them.
var Scorer = {
  score: ([docname, title, anchor, descr, score, filename, kind]) => {
    if (anchor || kind === "object") return score;
    const query = new URLSearchParams(window.location.search).get("q") || "";
    const split = (text) => text.toLowerCase().split(/\W+/).filter((word) => word);
    // "explain" finds "explanations", and "save" finds "saving"
    const isIn = (word) =>
      split(title).some((other) => other.startsWith(word.slice(0, Math.max(3, word.length - 2))));
    const words = split(query);
    const share = words.filter(isIn).length / Math.max(words.length, 1);
    return score + 20 * share + (docname.startsWith("user_guide/") ? 10 : 0);
  },
  // what follows are the values of Sphinx
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
