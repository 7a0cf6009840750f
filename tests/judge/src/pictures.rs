//! The pictures of `docs/judging.md`.

use crate::cases::{self, Case, Group, RATES, Window};
use crate::page::{Index, PAINTED};
use crate::paint::{Area, COLOURS, Picture, Scale};
use crate::results::Row;
use crate::rules::{ALPHA, RULES, bets};
use crate::traffic;

const GREY: &str = "#555555";
const BOUND: &str = "#b91c1c";

/// The capital of the bets over time, of four releases at ten requests per second.
pub fn capital() -> String {
    let mut picture = Picture::new(900.0, 470.0);
    let area = Area {
        left: 80.0,
        top: 50.0,
        width: 560.0,
        height: 360.0,
        x: Scale::Linear(0.0, 20.0),
        y: Scale::Log(0.001, 1000.0),
    };
    picture.text((80.0, 28.0), "start", "#111111", "Capital of the bets against a release, limit 5 %, 10 requests/s");
    let xs: Vec<_> = (0..=20).step_by(5).map(|m| (f64::from(m), format!("{m} min"))).collect();
    let ys = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0].map(|v| (v, v.to_string()));
    picture.axes(&area, &xs, &ys);
    let bound = 1.0 / ALPHA;
    picture.line(&[area.at(0.0, bound), area.at(20.0, bound)], BOUND, 2.0, "6 4");
    picture.text(
        (area.left + area.width + 8.0, area.at(0.0, bound).1 + 4.0),
        "start",
        BOUND,
        "rolled back at 100 = 1/α",
    );
    let all = cases::all();
    let case = |title: &str| all.iter().find(|c| c.window == 1800 && c.title == title && c.rate == 10.0);
    let shown = [
        ("0.2 × the limit", "1 % bad: a good release", COLOURS[4]),
        ("exactly at the limit", "5 % bad: exactly at the limit", COLOURS[3]),
        ("20\u{202f}% bad after 10 min", "20 % bad after 10 min", COLOURS[5]),
        ("100\u{202f}% bad after 10 min", "all bad after 10 min", COLOURS[0]),
    ];
    for (n, (title, words, colour)) in shown.iter().enumerate() {
        let Some(case) = case(title) else { continue };
        let levels = levels(case, 1200);
        let points: Vec<_> = levels.iter().map(|(at, level)| area.at(*at / 60.0, *level)).collect();
        picture.line(&points, colour, 2.0, "");
        // A line that reaches the bound ends there.
        if levels.last().is_some_and(|(at, _)| *at < 1200.0) {
            picture.dot(points[points.len() - 1], colour);
        }
        let y = 250.0 + 22.0 * n as f64;
        picture.line(&[(652.0, y - 4.0), (676.0, y - 4.0)], colour, 2.5, "");
        picture.text((682.0, y), "start", "#111111", words);
    }
    picture.text(
        (80.0, 455.0),
        "start",
        GREY,
        "Each step is one interval of 15 s. A line that reaches the bound ends: the release is rolled back.",
    );
    picture.done()
}

/// The capital after each interval, up to a rollback.
fn levels(case: &Case, until: u32) -> Vec<(f64, f64)> {
    let trace = traffic::replay(case, 0);
    let mut found = vec![(0.0, 1.0)];
    for (at, evidence, rule) in bets(case, &trace.release).take_while(|(at, ..)| *at <= until) {
        found.push((f64::from(at), evidence.level()));
        if evidence.fires(&rule) {
            break;
        }
    }
    found
}

/// False rollbacks of every case in which the release keeps its limit.
pub fn false_rollbacks(rows: &[Row]) -> String {
    let index = Index::of(rows);
    let strip = 46.0;
    let mut picture = Picture::new(900.0, 130.0 + 2.0 * RULES.len() as f64 * strip);
    picture.text(
        (16.0, 28.0),
        "start",
        "#111111",
        "Releases that keep their limit: share that is rolled back, a dot for each case",
    );
    for (n, (window, title)) in [(Window::Short, "30 minutes"), (Window::Long, "48 hours")].into_iter().enumerate() {
        let top = 60.0 + n as f64 * (RULES.len() as f64 * strip + 40.0);
        let height = RULES.len() as f64 * strip - 10.0;
        // What never happened stands at the left end.
        let area =
            Area { left: 150.0, top, width: 720.0, height, x: Scale::Log(0.0001, 1.0), y: Scale::Linear(0.0, 1.0) };
        let xs = [(0.0001, "0"), (0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (1.0, "100 %")];
        picture.axes(&area, &xs.map(|(at, word)| (at, word.to_owned())), &[]);
        picture.text((16.0, top - 8.0), "start", "#111111", title);
        picture.line(&[area.at(ALPHA, 0.0), area.at(ALPHA, 1.0)], BOUND, 1.5, "6 4");
        for (i, rule) in RULES.iter().enumerate() {
            let y = top + 20.0 + strip * i as f64;
            picture.text((140.0, y + 4.0), "end", "#111111", rule.title);
            let of = cases::all().into_iter().filter(|c| c.window == window.seconds() && c.group == Group::Keeps);
            for (j, row) in of.filter_map(|case| index.get(&case, rule.name)).enumerate() {
                // Spread in height, so that equal values can be told apart.
                let (x, _) = area.at(row.share(), 0.0);
                picture.dot((x, y - 10.0 + (j * 7 % 21) as f64), COLOURS[i]);
            }
        }
    }
    picture.done()
}

/// How soon what is bad from the switch is found, by rate.
pub fn found(rows: &[Row]) -> String {
    let index = Index::of(rows);
    let mut picture = Picture::new(900.0, 380.0);
    picture.text(
        (16.0, 28.0),
        "start",
        "#111111",
        "Bad from the switch: time until half of the replays are rolled back, limit 5 %",
    );
    let ys = [15, 60, 300, 900, 1800]
        .map(|s| (f64::from(s), if s < 60 { format!("{s} s") } else { format!("{} min", s / 60) }));
    let xs = RATES.map(|rate| (rate, rate.to_string()));
    for (n, share) in PAINTED.into_iter().enumerate() {
        let area = Area {
            left: 60.0 + 285.0 * n as f64,
            top: 66.0,
            width: 230.0,
            height: 230.0,
            x: Scale::Log(0.1, 100.0),
            y: Scale::Log(15.0, 1800.0),
        };
        picture.axes(&area, &xs, &ys);
        picture.text((area.left, 56.0), "start", "#111111", &format!("{} % bad", share * 100.0));
        picture.text((area.left + 115.0, 330.0), "middle", GREY, "requests/s");
        for (i, rule) in RULES.iter().enumerate() {
            let of = cases::all().into_iter().filter(|case| {
                let bad = matches!(case.shape, cases::Shape::Flat(of) if of == share);
                case.group == Group::Bad && bad && case.onset == 0 && case.trouble == cases::Trouble::None
            });
            // Where less than half is found there is no dot, and the line ends.
            let points: Vec<_> = of
                .filter_map(|case| Some((case.rate, index.get(&case, rule.name)?.median?)))
                .map(|(rate, median)| area.at(rate, f64::from(median)))
                .collect();
            picture.line(&points, COLOURS[i], if i == 0 { 3.0 } else { 1.5 }, "");
            points.iter().for_each(|at| picture.dot(*at, COLOURS[i]));
        }
    }
    for (i, rule) in RULES.iter().enumerate() {
        let x = 20.0 + 145.0 * i as f64;
        picture.line(&[(x, 358.0), (x + 22.0, 358.0)], COLOURS[i], 2.5, "");
        picture.text((x + 28.0, 362.0), "start", "#111111", rule.title);
    }
    picture.done()
}
