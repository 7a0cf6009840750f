//! Tests of expressions: what they say, what they may refer to, and that none takes long.

use super::*;
use serde_json::json;

const HTTP: [&str; 9] = ["status", "headers", "body", "json", "latency", "captures", "release", "now", "steps"];

fn vars() -> BTreeMap<String, Var> {
    let items = json!([{"id": 1, "p": 0.5}, {"id": 2}]);
    let json = json!({"status": "ok", "items": items, "big": u64::MAX, "none": null});
    [
        ("status", json!(200).into()),
        ("headers", json!({"content-type": "application/json"}).into()),
        ("body", json!("{\"status\":\"ok\"}").into()),
        ("json", json.into()),
        ("latency", Var::Duration(Duration::from_millis(1500))),
        ("captures", json!({"base": 0.01, "odd-name": "x"}).into()),
        ("release", json!({"version": "2.4.0"}).into()),
        ("now", Var::Time("2026-11-21T04:00:00.5Z".parse().unwrap_or_default())),
        ("steps", json!({"smoke": {"outcome": "Succeeded"}}).into()),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect()
}

fn eval(expr: &str) -> Result<bool, String> {
    eval_bool(expr, &vars())
}

#[test]
fn what_an_expression_looks_at_is_told_by_path() {
    let object = json!({"status": {"ready": 2, "list": [{"type": "Ready"}]}, "data": {"a.b": "x"}});
    let at = |expr: &str| serde_json::to_value(looked_at(expr, "object", &object)).unwrap_or_default();
    assert_eq!(at("object.status.ready >= 2 && captures.x == 1"), json!({"object.status.ready": 2}));
    assert_eq!(
        at("object.data['a.b'] == object.status.none"),
        json!({"object.data['a.b']": "x", "object.status.none": null})
    );
    assert_eq!(
        at("object.status.list.exists(c, c.type == 'Ready')"),
        json!({"object.status.list": [{"type": "Ready"}]})
    );
    assert_eq!(at(")"), json!({}));
}

#[test]
fn says_true_and_false() {
    for (expr, want) in [
        ("status == 200", true),
        ("status >= 200 && status < 300", true),
        ("json.status == 'ok'", true),
        ("latency < duration('2s')", true),
        ("latency < duration('1500ms')", false),
        ("latency == duration('1.5s')", true),
        ("now > timestamp('2026-11-21T00:00:00Z')", true),
        ("now - timestamp('2026-11-21T04:00:00Z') < duration('1s')", true),
        ("body.matches('\"ok\"') && body.startsWith('{') && body.contains('status')", true),
        ("size(json.items) == 2 && json.items.size() == 2", true),
        ("json.items.all(i, i.id > 0) && json.items.exists(i, i.id == 2)", true),
        ("json.items.filter(i, has(i.p)).size() == 1", true),
        ("has(json.nope)", false),
        ("'status' in json", true),
        ("captures.base < 0.02 && captures.base * 2.0 == 0.02", true),
        ("captures['odd-name'] == 'x'", true),
        ("steps['smoke'].outcome == 'Succeeded'", true),
        ("release.version == '2.4.0'", true),
        ("headers['content-type'] == 'application/json'", true),
        ("json.items[0].p < 1 && json.items[1].id + 1 == 3", true),
        ("json.big > 1", true),
        ("json.none == null", true),
        ("int('41') == 41 && double('1.5') > 1", true),
        ("has(json.a) ? json.a == 1 : status == 200", true),
        ("status == 200.0 && json.items[0].p * 2.0 == 1", true),
    ] {
        assert_eq!(compile_check(expr, &HTTP), Ok(()), "{expr}");
        assert_eq!(eval(expr), Ok(want), "{expr}");
    }
}

#[test]
fn what_is_missing_is_named_and_no_value_is_shown() {
    for (expr, want) in [
        ("json.nope == 1", "json.nope is missing"),
        ("json.status == 'ok' && json.items[0].nope.deeper == 1", "json.items[0].nope is missing"),
        ("json.items[7].id == 1", "json.items[7] is missing"),
        ("headers['x-y'] == 'a'", "headers['x-y'] is missing"),
        ("json.status < 5", "< does not apply to string and int"),
        ("json.none.x == 1", "json.none.x is missing"),
        ("json.items", "the expression gives list, not true or false"),
        ("json.big / 0u == 1u", "division by zero"),
    ] {
        assert_eq!(eval(expr), Err(want.to_owned()), "{expr}");
    }
    let mut vars = vars();
    vars.remove("json");
    assert_eq!(eval_bool("json.status == 'ok'", &vars), Err("json is missing".into()));
    for expr in [
        "body < 5",
        "body + 1 == 2",
        "duration(body) > latency",
        "body.getHours() == 1",
        "body ? true : false",
        "int(body) == 1",
    ] {
        let error = eval(expr).expect_err(expr);
        assert!(!error.contains("ok"), "{expr}: {error}");
    }
}

#[test]
fn refuses_what_could_not_be_judged() {
    for (expr, want) in [
        ("", "empty"),
        ("status ==", "not a CEL expression"),
        ("nope == 1", "\"nope\" is not known here; known are status"),
        ("status", "gives a number"),
        ("size(body)", "gives a number"),
        ("'a'", "gives a text"),
        ("frobnicate(status)", "frobnicate() is not a function"),
        ("body.matches('(')", "not a regular expression"),
        ("body.matches(json.p)", "quoted text"),
        ("json.?a == 1", "not a CEL expression"),
        ("a.b.C{x: 1} == 1", "cannot be built"),
        ("json.a.all(a, json.a.all(b, json.a.all(c, a == b)))", "more than 2 loops"),
        ("[0].map(b,b+b).map(c,c+c).map(d,d+d).map(e,e+e).map(f,f+f).size() == 1", "more than 4 `+`"),
    ] {
        let error = compile_check(expr, &HTTP).expect_err(expr);
        assert!(error.contains(want), "{expr}: {error}");
    }
    assert!(compile_check(&format!("status == {}", "1".repeat(600)), &HTTP).is_err());
}

#[test]
fn finds_captures_and_steps() {
    let expr = "captures.a < 1 && captures['b'] < 2 && steps['x-1'].outcome == 'Failed' && json.captures.c";
    let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    let want = References { captures: set(&["a", "b"]), steps: set(&["x-1"]) };
    assert_eq!(references(expr, &HTTP), Ok(want));
}

#[test]
fn a_long_list_is_not_looped_over_for_ever() {
    let mut vars = vars();
    vars.insert("json".into(), json!((0..20_000).collect::<Vec<_>>()).into());
    assert_eq!(eval_bool("json.all(a, a >= 0)", &vars), Ok(true));
    for expr in ["json.all(a, json.exists(b, a == b))", "json.all(a, a in json)"] {
        assert!(
            matches!(super::eval(expr, &vars), Err(Fault::Beyond(why)) if why.contains("too much to loop over")),
            "{expr}"
        );
    }
}

#[test]
fn a_pattern_that_takes_too_long_says_nothing_about_the_text() {
    let vars = BTreeMap::from([("body".to_owned(), Var::Json("a".repeat(65_536).into()))]);
    let said = super::eval("!body.matches('(?:a{1,98}){1,98}x')", &vars);
    assert!(matches!(&said, Err(Fault::Beyond(why)) if why.contains("takes too long on this text")), "{said:?}");
    assert!(matches!(super::eval("body > 1", &vars), Err(Fault::Wrong(_))));
    // All patterns of an expression share one bound.
    let vars = BTreeMap::from([("body".to_owned(), Var::Json("a".repeat(500).into()))]);
    let all = ["x", "y", "z"].map(|end| format!("!body.matches('(?:a{{1,53}}){{1,53}}{end}')"));
    assert_eq!(super::eval(&all[0], &vars), Ok(true));
    assert!(matches!(super::eval(&all.join(" && "), &vars), Err(Fault::Beyond(_))));
}

/// Odd texts: none may panic, overflow the stack or take long. Run on a stack half as large as a worker's.
#[test]
fn survives_odd_texts() {
    let nest = |open: &str, n: usize, close: &str| open.repeat(n) + "1" + &close.repeat(n);
    let mut odd: Vec<String> = include_str!("testdata/odd-expressions.txt").lines().map(str::to_owned).collect();
    odd.extend([
        nest("(", 12, ")"),
        nest("(", 250, ")"),
        nest("[", 12, "]"),
        nest("{1:", 12, "}"),
        nest("!", 500, ""),
        nest("-", 500, ""),
        nest("- ", 250, ""),
        nest("! ", 250, ""),
        nest("x.all(y,", 12, ")"),
        nest("size(", 12, ")"),
        nest("1+", 250, ""),
        nest("1<", 250, ""),
        nest("a&&", 160, ""),
        nest("a||", 160, ""),
        nest("a in ", 100, ""),
        nest("true?1:", 70, ""),
        nest("true?1:", 12, ""),
        nest("true?", 12, ":1"),
        "a.".repeat(250) + "a",
        "a[0]".repeat(120),
        "a.b()".to_owned() + &".b()".repeat(120),
        "\u{1F600}".to_owned(),
        "a\n.\nb".to_owned(),
        "'\u{0}'".to_owned(),
        "\u{feff}status".to_owned(),
    ]);
    // Every prefix and suffix of a good expression, and splices of it, the same ones each time.
    let good = "json.items.all(i, i.id > 0 && [1, 2u, 3.5, 'x', b'y', null][0] == 1 ? has(i.p) : {'a': -1}['a'] in [1]) \
                || !(latency < duration('2s'))";
    let pieces = [
        "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "'", "\"", "\\", "!", "-", "&&", "1", "e", "u", "has", "all",
        "in", " ", "`", "\u{0}", "é", "0x", "//",
    ];
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % n as u64).unwrap_or(0)
    };
    for i in 0..good.len() {
        odd.push(good[..i].to_owned());
        odd.push(good[i..].to_owned());
    }
    for _ in 0..1500 {
        let mut text = good.to_owned();
        for _ in 0..=next(4) {
            let at = next(text.len() + 1);
            if !text.is_char_boundary(at) {
                continue;
            }
            match next(3) {
                0 => text.truncate(at),
                1 => text.insert_str(at, pieces[next(pieces.len())]),
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        odd.push(text);
        odd.push((0..=next(30)).map(|_| pieces[next(pieces.len())]).collect());
    }
    let run = move || {
        let vars = vars();
        for text in &odd {
            let begun = std::time::Instant::now();
            let errors = [compile_check(text, &HTTP).err(), eval_bool(text, &vars).err()];
            assert!(begun.elapsed().as_secs() < 5, "slow: {text}");
            assert!(errors.iter().flatten().all(|e| !e.is_empty() && e.len() < 1000), "{text}: {errors:?}");
        }
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run).expect("a thread");
    assert!(thread.join().is_ok(), "an odd text panicked");
}
