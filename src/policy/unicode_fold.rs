//! Unicode's NFKC and case folding, as far as it leads to ASCII.
//!
//! All words that a path is compared with are ASCII, and so is everything that a lenient reader treats specially. So
//! each character is folded on its own, by a table of all characters whose folded form holds ASCII or is empty; every
//! other one becomes [`NON_ASCII`]. That costs the same few steps for any character. Normalizing the whole text would cost
//! 18 times as much for some characters, and a time that grows with the square for long runs of combining marks.
//!
//! Nothing is lost by it: normalization composes ASCII letters with the marks that follow them, but never makes ASCII
//! of characters that are not in this table.

use super::work_counter;

/// Stands for a character, or several, that fold to nothing in ASCII.
pub(super) const NON_ASCII: u8 = 0x7f;

/// How many bytes a character that folds to ASCII alone becomes at most, for each of its bytes in UTF-8.
pub(super) const MOST_PER_BYTE: usize = 2;

/// What the characters from a code point on become.
#[derive(Clone, Copy)]
enum Fold {
    /// This one and those after it: one byte each.
    Each(&'static str),
    /// This one: all of these bytes.
    Whole(&'static str),
    /// All up to this one: nothing.
    Nothing(u32),
}

use Fold::{Each, Nothing, Whole};

/// Calls `take` with each byte that `character` folds to: lower-case ASCII, a space for each kind of white space, and
/// [`NON_ASCII`].
pub(super) fn fold_to_ascii(character: char, mut take: impl FnMut(u8)) {
    if character.is_ascii() {
        work_counter::add(1);
        return take((character as u8).to_ascii_lowercase());
    }
    let code = u32::from(character);
    // no code point has more than 21 bits
    let page = (code >> 8) as usize;
    let (start, end) = (usize::from(PAGES[page]), usize::from(PAGES[page + 1]));
    let after = start + FOLDS[start..end].partition_point(|(first, _)| *first <= code);
    // the search takes eight looks at the table, and none for most characters
    work_counter::add(4);
    let one;
    let folded: &[u8] = match after.checked_sub(1).map(|at| FOLDS[at]) {
        Some((first, Each(bytes))) if ((code - first) as usize) < bytes.len() => {
            one = [bytes.as_bytes()[(code - first) as usize]];
            &one
        }
        Some((first, Whole(bytes))) if code == first => bytes.as_bytes(),
        Some((_, Nothing(last))) if code <= last => &[],
        _ => &[NON_ASCII],
    };
    work_counter::add(folded.len());
    folded.iter().copied().for_each(take);
}

/// Where the entries of each page of 256 code points begin in [`FOLDS`].
static PAGES: [u16; 0x1102] = {
    let mut pages = [0; 0x1102];
    let (mut page, mut entry): (u32, u16) = (0, 0);
    while (page as usize) < pages.len() {
        while (entry as usize) < FOLDS.len() && FOLDS[entry as usize].0 >> 8 < page {
            entry += 1;
        }
        pages[page as usize] = entry;
        page += 1;
    }
    pages
};

/// Sorted by code point; `policy::unicode_fold::tests` makes it anew from the full algorithm and compares.
#[rustfmt::skip] // one entry a line would be 680 lines
static FOLDS: [(u32, Fold); 676] = [
    (0x85, Each(" ")), (0xa0, Each(" ")), (0xa8, Whole(" \x7f")), (0xaa, Each("a")), (0xad, Nothing(0xad)),
    (0xaf, Whole(" \x7f")), (0xb2, Each("23")), (0xb4, Whole(" \x7f")), (0xb8, Whole(" \x7f")), (0xb9, Each("1o")),
    (0xbc, Whole("1\x7f4")), (0xbd, Whole("1\x7f2")), (0xbe, Whole("3\x7f4")), (0xdf, Whole("ss")),
    (0x130, Whole("i\x7f")), (0x131, Each("i")), (0x132, Whole("ij")), (0x133, Whole("ij")), (0x13f, Whole("l\x7f")),
    (0x140, Whole("l\x7f")), (0x149, Whole("\x7fn")), (0x17f, Each("s")), (0x1c4, Whole("d\x7f")),
    (0x1c5, Whole("d\x7f")), (0x1c6, Whole("d\x7f")), (0x1c7, Whole("lj")), (0x1c8, Whole("lj")),
    (0x1c9, Whole("lj")), (0x1ca, Whole("nj")), (0x1cb, Whole("nj")), (0x1cc, Whole("nj")), (0x1f1, Whole("dz")),
    (0x1f2, Whole("dz")), (0x1f3, Whole("dz")), (0x2b0, Each("h")), (0x2b2, Each("jr")), (0x2b7, Each("wy")),
    (0x2d8, Whole(" \x7f")), (0x2d9, Whole(" \x7f")), (0x2da, Whole(" \x7f")), (0x2db, Whole(" \x7f")),
    (0x2dc, Whole(" \x7f")), (0x2dd, Whole(" \x7f")), (0x2e1, Each("lsx")), (0x34f, Nothing(0x34f)),
    (0x37a, Whole(" \x7f")), (0x37e, Each(";")), (0x384, Whole(" \x7f")), (0x385, Whole(" \x7f")),
    (0x61c, Nothing(0x61c)), (0x115f, Nothing(0x1160)), (0x1680, Each(" ")), (0x17b4, Nothing(0x17b5)),
    (0x180b, Nothing(0x180f)), (0x1d2c, Each("a")), (0x1d2e, Each("b")), (0x1d30, Each("de")),
    (0x1d33, Each("ghijklmn")), (0x1d3c, Each("o")), (0x1d3e, Each("prtuwa")), (0x1d47, Each("bde")),
    (0x1d4d, Each("g")), (0x1d4f, Each("km")), (0x1d52, Each("o")), (0x1d56, Each("ptu")), (0x1d5b, Each("v")),
    (0x1d62, Each("iruv")), (0x1d9c, Each("c")), (0x1da0, Each("f")), (0x1dbb, Each("z")), (0x1e9a, Whole("a\x7f")),
    (0x1e9e, Whole("ss")), (0x1fbd, Whole(" \x7f")), (0x1fbf, Whole(" \x7f")), (0x1fc0, Whole(" \x7f")),
    (0x1fc1, Whole(" \x7f")), (0x1fcd, Whole(" \x7f")), (0x1fce, Whole(" \x7f")), (0x1fcf, Whole(" \x7f")),
    (0x1fdd, Whole(" \x7f")), (0x1fde, Whole(" \x7f")), (0x1fdf, Whole(" \x7f")), (0x1fed, Whole(" \x7f")),
    (0x1fee, Whole(" \x7f")), (0x1fef, Each("`")), (0x1ffd, Whole(" \x7f")), (0x1ffe, Whole(" \x7f")),
    (0x2000, Each("           ")), (0x200b, Nothing(0x200f)), (0x2017, Whole(" \x7f")), (0x2024, Each(".")),
    (0x2025, Whole("..")), (0x2026, Whole("...")), (0x2028, Each("  ")), (0x202a, Nothing(0x202e)),
    (0x202f, Each(" ")), (0x203c, Whole("!!")), (0x203e, Whole(" \x7f")), (0x2047, Whole("??")),
    (0x2048, Whole("?!")), (0x2049, Whole("!?")), (0x205f, Each(" ")), (0x2060, Nothing(0x206f)),
    (0x2070, Each("0i")), (0x2074, Each("456789+")), (0x207c, Each("=()n0123456789+")), (0x208c, Each("=()")),
    (0x2090, Each("aeox")), (0x2095, Each("hklmnpstwyz")), (0x20a8, Whole("rs")), (0x2100, Whole("a/c")),
    (0x2101, Whole("a/s")), (0x2102, Each("c")), (0x2103, Whole("\x7fc")), (0x2105, Whole("c/o")),
    (0x2106, Whole("c/u")), (0x2109, Whole("\x7ff")), (0x210a, Each("ghhhh")), (0x2110, Each("iill")),
    (0x2115, Each("n")), (0x2116, Whole("no")), (0x2119, Each("pqrrr")), (0x2120, Whole("sm")),
    (0x2121, Whole("tel")), (0x2122, Whole("tm")), (0x2124, Each("z")), (0x2128, Each("z")), (0x212a, Each("k")),
    (0x212c, Each("bc")), (0x212f, Each("eef")), (0x2133, Each("mo")), (0x2139, Each("i")), (0x213b, Whole("fax")),
    (0x2145, Each("ddeij")), (0x2150, Whole("1\x7f7")), (0x2151, Whole("1\x7f9")), (0x2152, Whole("1\x7f10")),
    (0x2153, Whole("1\x7f3")), (0x2154, Whole("2\x7f3")), (0x2155, Whole("1\x7f5")), (0x2156, Whole("2\x7f5")),
    (0x2157, Whole("3\x7f5")), (0x2158, Whole("4\x7f5")), (0x2159, Whole("1\x7f6")), (0x215a, Whole("5\x7f6")),
    (0x215b, Whole("1\x7f8")), (0x215c, Whole("3\x7f8")), (0x215d, Whole("5\x7f8")), (0x215e, Whole("7\x7f8")),
    (0x215f, Whole("1\x7f")), (0x2160, Each("i")), (0x2161, Whole("ii")), (0x2162, Whole("iii")),
    (0x2163, Whole("iv")), (0x2164, Each("v")), (0x2165, Whole("vi")), (0x2166, Whole("vii")),
    (0x2167, Whole("viii")), (0x2168, Whole("ix")), (0x2169, Each("x")), (0x216a, Whole("xi")),
    (0x216b, Whole("xii")), (0x216c, Each("lcdmi")), (0x2171, Whole("ii")), (0x2172, Whole("iii")),
    (0x2173, Whole("iv")), (0x2174, Each("v")), (0x2175, Whole("vi")), (0x2176, Whole("vii")),
    (0x2177, Whole("viii")), (0x2178, Whole("ix")), (0x2179, Each("x")), (0x217a, Whole("xi")),
    (0x217b, Whole("xii")), (0x217c, Each("lcdm")), (0x2189, Whole("0\x7f3")), (0x2460, Each("123456789")),
    (0x2469, Whole("10")), (0x246a, Whole("11")), (0x246b, Whole("12")), (0x246c, Whole("13")), (0x246d, Whole("14")),
    (0x246e, Whole("15")), (0x246f, Whole("16")), (0x2470, Whole("17")), (0x2471, Whole("18")), (0x2472, Whole("19")),
    (0x2473, Whole("20")), (0x2474, Whole("(1)")), (0x2475, Whole("(2)")), (0x2476, Whole("(3)")),
    (0x2477, Whole("(4)")), (0x2478, Whole("(5)")), (0x2479, Whole("(6)")), (0x247a, Whole("(7)")),
    (0x247b, Whole("(8)")), (0x247c, Whole("(9)")), (0x247d, Whole("(10)")), (0x247e, Whole("(11)")),
    (0x247f, Whole("(12)")), (0x2480, Whole("(13)")), (0x2481, Whole("(14)")), (0x2482, Whole("(15)")),
    (0x2483, Whole("(16)")), (0x2484, Whole("(17)")), (0x2485, Whole("(18)")), (0x2486, Whole("(19)")),
    (0x2487, Whole("(20)")), (0x2488, Whole("1.")), (0x2489, Whole("2.")), (0x248a, Whole("3.")),
    (0x248b, Whole("4.")), (0x248c, Whole("5.")), (0x248d, Whole("6.")), (0x248e, Whole("7.")), (0x248f, Whole("8.")),
    (0x2490, Whole("9.")), (0x2491, Whole("10.")), (0x2492, Whole("11.")), (0x2493, Whole("12.")),
    (0x2494, Whole("13.")), (0x2495, Whole("14.")), (0x2496, Whole("15.")), (0x2497, Whole("16.")),
    (0x2498, Whole("17.")), (0x2499, Whole("18.")), (0x249a, Whole("19.")), (0x249b, Whole("20.")),
    (0x249c, Whole("(a)")), (0x249d, Whole("(b)")), (0x249e, Whole("(c)")), (0x249f, Whole("(d)")),
    (0x24a0, Whole("(e)")), (0x24a1, Whole("(f)")), (0x24a2, Whole("(g)")), (0x24a3, Whole("(h)")),
    (0x24a4, Whole("(i)")), (0x24a5, Whole("(j)")), (0x24a6, Whole("(k)")), (0x24a7, Whole("(l)")),
    (0x24a8, Whole("(m)")), (0x24a9, Whole("(n)")), (0x24aa, Whole("(o)")), (0x24ab, Whole("(p)")),
    (0x24ac, Whole("(q)")), (0x24ad, Whole("(r)")), (0x24ae, Whole("(s)")), (0x24af, Whole("(t)")),
    (0x24b0, Whole("(u)")), (0x24b1, Whole("(v)")), (0x24b2, Whole("(w)")), (0x24b3, Whole("(x)")),
    (0x24b4, Whole("(y)")), (0x24b5, Whole("(z)")),
    (0x24b6, Each("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0")), (0x2a74, Whole("::=")),
    (0x2a75, Whole("==")), (0x2a76, Whole("===")), (0x2c7c, Each("jv")), (0x3000, Each(" ")),
    (0x309b, Whole(" \x7f")), (0x309c, Whole(" \x7f")), (0x3164, Nothing(0x3164)), (0x3200, Whole("(\x7f)")),
    (0x3201, Whole("(\x7f)")), (0x3202, Whole("(\x7f)")), (0x3203, Whole("(\x7f)")), (0x3204, Whole("(\x7f)")),
    (0x3205, Whole("(\x7f)")), (0x3206, Whole("(\x7f)")), (0x3207, Whole("(\x7f)")), (0x3208, Whole("(\x7f)")),
    (0x3209, Whole("(\x7f)")), (0x320a, Whole("(\x7f)")), (0x320b, Whole("(\x7f)")), (0x320c, Whole("(\x7f)")),
    (0x320d, Whole("(\x7f)")), (0x320e, Whole("(\x7f)")), (0x320f, Whole("(\x7f)")), (0x3210, Whole("(\x7f)")),
    (0x3211, Whole("(\x7f)")), (0x3212, Whole("(\x7f)")), (0x3213, Whole("(\x7f)")), (0x3214, Whole("(\x7f)")),
    (0x3215, Whole("(\x7f)")), (0x3216, Whole("(\x7f)")), (0x3217, Whole("(\x7f)")), (0x3218, Whole("(\x7f)")),
    (0x3219, Whole("(\x7f)")), (0x321a, Whole("(\x7f)")), (0x321b, Whole("(\x7f)")), (0x321c, Whole("(\x7f)")),
    (0x321d, Whole("(\x7f)")), (0x321e, Whole("(\x7f)")), (0x3220, Whole("(\x7f)")), (0x3221, Whole("(\x7f)")),
    (0x3222, Whole("(\x7f)")), (0x3223, Whole("(\x7f)")), (0x3224, Whole("(\x7f)")), (0x3225, Whole("(\x7f)")),
    (0x3226, Whole("(\x7f)")), (0x3227, Whole("(\x7f)")), (0x3228, Whole("(\x7f)")), (0x3229, Whole("(\x7f)")),
    (0x322a, Whole("(\x7f)")), (0x322b, Whole("(\x7f)")), (0x322c, Whole("(\x7f)")), (0x322d, Whole("(\x7f)")),
    (0x322e, Whole("(\x7f)")), (0x322f, Whole("(\x7f)")), (0x3230, Whole("(\x7f)")), (0x3231, Whole("(\x7f)")),
    (0x3232, Whole("(\x7f)")), (0x3233, Whole("(\x7f)")), (0x3234, Whole("(\x7f)")), (0x3235, Whole("(\x7f)")),
    (0x3236, Whole("(\x7f)")), (0x3237, Whole("(\x7f)")), (0x3238, Whole("(\x7f)")), (0x3239, Whole("(\x7f)")),
    (0x323a, Whole("(\x7f)")), (0x323b, Whole("(\x7f)")), (0x323c, Whole("(\x7f)")), (0x323d, Whole("(\x7f)")),
    (0x323e, Whole("(\x7f)")), (0x323f, Whole("(\x7f)")), (0x3240, Whole("(\x7f)")), (0x3241, Whole("(\x7f)")),
    (0x3242, Whole("(\x7f)")), (0x3243, Whole("(\x7f)")), (0x3250, Whole("pte")), (0x3251, Whole("21")),
    (0x3252, Whole("22")), (0x3253, Whole("23")), (0x3254, Whole("24")), (0x3255, Whole("25")), (0x3256, Whole("26")),
    (0x3257, Whole("27")), (0x3258, Whole("28")), (0x3259, Whole("29")), (0x325a, Whole("30")), (0x325b, Whole("31")),
    (0x325c, Whole("32")), (0x325d, Whole("33")), (0x325e, Whole("34")), (0x325f, Whole("35")), (0x32b1, Whole("36")),
    (0x32b2, Whole("37")), (0x32b3, Whole("38")), (0x32b4, Whole("39")), (0x32b5, Whole("40")), (0x32b6, Whole("41")),
    (0x32b7, Whole("42")), (0x32b8, Whole("43")), (0x32b9, Whole("44")), (0x32ba, Whole("45")), (0x32bb, Whole("46")),
    (0x32bc, Whole("47")), (0x32bd, Whole("48")), (0x32be, Whole("49")), (0x32bf, Whole("50")),
    (0x32c0, Whole("1\x7f")), (0x32c1, Whole("2\x7f")), (0x32c2, Whole("3\x7f")), (0x32c3, Whole("4\x7f")),
    (0x32c4, Whole("5\x7f")), (0x32c5, Whole("6\x7f")), (0x32c6, Whole("7\x7f")), (0x32c7, Whole("8\x7f")),
    (0x32c8, Whole("9\x7f")), (0x32c9, Whole("10\x7f")), (0x32ca, Whole("11\x7f")), (0x32cb, Whole("12\x7f")),
    (0x32cc, Whole("hg")), (0x32cd, Whole("erg")), (0x32ce, Whole("ev")), (0x32cf, Whole("ltd")),
    (0x3358, Whole("0\x7f")), (0x3359, Whole("1\x7f")), (0x335a, Whole("2\x7f")), (0x335b, Whole("3\x7f")),
    (0x335c, Whole("4\x7f")), (0x335d, Whole("5\x7f")), (0x335e, Whole("6\x7f")), (0x335f, Whole("7\x7f")),
    (0x3360, Whole("8\x7f")), (0x3361, Whole("9\x7f")), (0x3362, Whole("10\x7f")), (0x3363, Whole("11\x7f")),
    (0x3364, Whole("12\x7f")), (0x3365, Whole("13\x7f")), (0x3366, Whole("14\x7f")), (0x3367, Whole("15\x7f")),
    (0x3368, Whole("16\x7f")), (0x3369, Whole("17\x7f")), (0x336a, Whole("18\x7f")), (0x336b, Whole("19\x7f")),
    (0x336c, Whole("20\x7f")), (0x336d, Whole("21\x7f")), (0x336e, Whole("22\x7f")), (0x336f, Whole("23\x7f")),
    (0x3370, Whole("24\x7f")), (0x3371, Whole("hpa")), (0x3372, Whole("da")), (0x3373, Whole("au")),
    (0x3374, Whole("bar")), (0x3375, Whole("ov")), (0x3376, Whole("pc")), (0x3377, Whole("dm")),
    (0x3378, Whole("dm2")), (0x3379, Whole("dm3")), (0x337a, Whole("iu")), (0x3380, Whole("pa")),
    (0x3381, Whole("na")), (0x3382, Whole("\x7fa")), (0x3383, Whole("ma")), (0x3384, Whole("ka")),
    (0x3385, Whole("kb")), (0x3386, Whole("mb")), (0x3387, Whole("gb")), (0x3388, Whole("cal")),
    (0x3389, Whole("kcal")), (0x338a, Whole("pf")), (0x338b, Whole("nf")), (0x338c, Whole("\x7ff")),
    (0x338d, Whole("\x7fg")), (0x338e, Whole("mg")), (0x338f, Whole("kg")), (0x3390, Whole("hz")),
    (0x3391, Whole("khz")), (0x3392, Whole("mhz")), (0x3393, Whole("ghz")), (0x3394, Whole("thz")),
    (0x3395, Whole("\x7fl")), (0x3396, Whole("ml")), (0x3397, Whole("dl")), (0x3398, Whole("kl")),
    (0x3399, Whole("fm")), (0x339a, Whole("nm")), (0x339b, Whole("\x7fm")), (0x339c, Whole("mm")),
    (0x339d, Whole("cm")), (0x339e, Whole("km")), (0x339f, Whole("mm2")), (0x33a0, Whole("cm2")),
    (0x33a1, Whole("m2")), (0x33a2, Whole("km2")), (0x33a3, Whole("mm3")), (0x33a4, Whole("cm3")),
    (0x33a5, Whole("m3")), (0x33a6, Whole("km3")), (0x33a7, Whole("m\x7fs")), (0x33a8, Whole("m\x7fs2")),
    (0x33a9, Whole("pa")), (0x33aa, Whole("kpa")), (0x33ab, Whole("mpa")), (0x33ac, Whole("gpa")),
    (0x33ad, Whole("rad")), (0x33ae, Whole("rad\x7fs")), (0x33af, Whole("rad\x7fs2")), (0x33b0, Whole("ps")),
    (0x33b1, Whole("ns")), (0x33b2, Whole("\x7fs")), (0x33b3, Whole("ms")), (0x33b4, Whole("pv")),
    (0x33b5, Whole("nv")), (0x33b6, Whole("\x7fv")), (0x33b7, Whole("mv")), (0x33b8, Whole("kv")),
    (0x33b9, Whole("mv")), (0x33ba, Whole("pw")), (0x33bb, Whole("nw")), (0x33bc, Whole("\x7fw")),
    (0x33bd, Whole("mw")), (0x33be, Whole("kw")), (0x33bf, Whole("mw")), (0x33c0, Whole("k\x7f")),
    (0x33c1, Whole("m\x7f")), (0x33c2, Whole("a.m.")), (0x33c3, Whole("bq")), (0x33c4, Whole("cc")),
    (0x33c5, Whole("cd")), (0x33c6, Whole("c\x7fkg")), (0x33c7, Whole("co.")), (0x33c8, Whole("db")),
    (0x33c9, Whole("gy")), (0x33ca, Whole("ha")), (0x33cb, Whole("hp")), (0x33cc, Whole("in")), (0x33cd, Whole("kk")),
    (0x33ce, Whole("km")), (0x33cf, Whole("kt")), (0x33d0, Whole("lm")), (0x33d1, Whole("ln")),
    (0x33d2, Whole("log")), (0x33d3, Whole("lx")), (0x33d4, Whole("mb")), (0x33d5, Whole("mil")),
    (0x33d6, Whole("mol")), (0x33d7, Whole("ph")), (0x33d8, Whole("p.m.")), (0x33d9, Whole("ppm")),
    (0x33da, Whole("pr")), (0x33db, Whole("sr")), (0x33dc, Whole("sv")), (0x33dd, Whole("wb")),
    (0x33de, Whole("v\x7fm")), (0x33df, Whole("a\x7fm")), (0x33e0, Whole("1\x7f")), (0x33e1, Whole("2\x7f")),
    (0x33e2, Whole("3\x7f")), (0x33e3, Whole("4\x7f")), (0x33e4, Whole("5\x7f")), (0x33e5, Whole("6\x7f")),
    (0x33e6, Whole("7\x7f")), (0x33e7, Whole("8\x7f")), (0x33e8, Whole("9\x7f")), (0x33e9, Whole("10\x7f")),
    (0x33ea, Whole("11\x7f")), (0x33eb, Whole("12\x7f")), (0x33ec, Whole("13\x7f")), (0x33ed, Whole("14\x7f")),
    (0x33ee, Whole("15\x7f")), (0x33ef, Whole("16\x7f")), (0x33f0, Whole("17\x7f")), (0x33f1, Whole("18\x7f")),
    (0x33f2, Whole("19\x7f")), (0x33f3, Whole("20\x7f")), (0x33f4, Whole("21\x7f")), (0x33f5, Whole("22\x7f")),
    (0x33f6, Whole("23\x7f")), (0x33f7, Whole("24\x7f")), (0x33f8, Whole("25\x7f")), (0x33f9, Whole("26\x7f")),
    (0x33fa, Whole("27\x7f")), (0x33fb, Whole("28\x7f")), (0x33fc, Whole("29\x7f")), (0x33fd, Whole("30\x7f")),
    (0x33fe, Whole("31\x7f")), (0x33ff, Whole("gal")), (0xa7f1, Each("scfq")), (0xfb00, Whole("ff")),
    (0xfb01, Whole("fi")), (0xfb02, Whole("fl")), (0xfb03, Whole("ffi")), (0xfb04, Whole("ffl")),
    (0xfb05, Whole("st")), (0xfb06, Whole("st")), (0xfb29, Each("+")), (0xfc5e, Whole(" \x7f")),
    (0xfc5f, Whole(" \x7f")), (0xfc60, Whole(" \x7f")), (0xfc61, Whole(" \x7f")), (0xfc62, Whole(" \x7f")),
    (0xfc63, Whole(" \x7f")), (0xfdfa, Whole("\x7f \x7f \x7f \x7f")), (0xfdfb, Whole("\x7f \x7f")),
    (0xfe00, Nothing(0xfe0f)), (0xfe10, Each(",")), (0xfe13, Each(":;!?")), (0xfe19, Whole("...")),
    (0xfe30, Whole("..")), (0xfe33, Each("__(){}")), (0xfe47, Each("[]")), (0xfe49, Whole(" \x7f")),
    (0xfe4a, Whole(" \x7f")), (0xfe4b, Whole(" \x7f")), (0xfe4c, Whole(" \x7f")), (0xfe4d, Each("___,")),
    (0xfe52, Each(".")), (0xfe54, Each(";:?!")), (0xfe59, Each("(){}")), (0xfe5f, Each("#&*+-<>=")),
    (0xfe68, Each("\\$%@")), (0xfe70, Whole(" \x7f")), (0xfe72, Whole(" \x7f")), (0xfe74, Whole(" \x7f")),
    (0xfe76, Whole(" \x7f")), (0xfe78, Whole(" \x7f")), (0xfe7a, Whole(" \x7f")), (0xfe7c, Whole(" \x7f")),
    (0xfe7e, Whole(" \x7f")), (0xfeff, Nothing(0xfeff)),
    (0xff01, Each("!\"#$%&'()*+,-./0123456789:;<=>?@abcdefghijklmnopqrstuvwxyz[\\")),
    (0xff3d, Each("]^_`abcdefghijklmnopqrstuvwxyz{|}~")), (0xffa0, Nothing(0xffa0)), (0xffe3, Whole(" \x7f")),
    (0xfff0, Nothing(0xfff8)), (0x107a5, Each("q")), (0x1bca0, Nothing(0x1bca3)),
    (0x1ccd6, Each("abcdefghijklmnopqrstuvwxyz0123456789")), (0x1d173, Nothing(0x1d17a)),
    (0x1d400, Each("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefgh")),
    (0x1d43c, Each("ijklmnopqrstuvwxyzabcdefg")),
    (0x1d456, Each("ijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnop")), (0x1d492, Each("qrstuvwxyza")),
    (0x1d49e, Each("cd")), (0x1d4a2, Each("g")), (0x1d4a5, Each("jk")), (0x1d4a9, Each("nopq")),
    (0x1d4ae, Each("stuvwxyzabcd")), (0x1d4bb, Each("f")), (0x1d4bd, Each("hijklmn")),
    (0x1d4c5, Each("pqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvw")), (0x1d501, Each("xyzab")),
    (0x1d507, Each("defg")), (0x1d50d, Each("jklmnopq")), (0x1d516, Each("stuvwxy")),
    (0x1d51e, Each("abcdefghijklmnopqrstuvwxyzab")), (0x1d53b, Each("defg")), (0x1d540, Each("ijklm")),
    (0x1d546, Each("o")), (0x1d54a, Each("stuvwxy")),
    (0x1d552, Each("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefgh")),
    (0x1d58e, Each("ijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnop")),
    (0x1d5ca, Each("qrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwx")),
    (0x1d606, Each("yzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdef")),
    (0x1d642, Each("ghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmn")),
    (0x1d67e, Each("opqrstuvwxyzabcdefghijklmnopqrstuvwxyzi")), (0x1d6a6, Whole("ss")),
    (0x1d7ce, Each("01234567890123456789012345678901234567890123456789")), (0x1df95, Whole("ss")),
    (0x1f100, Whole("0.")), (0x1f101, Whole("0,")), (0x1f102, Whole("1,")), (0x1f103, Whole("2,")),
    (0x1f104, Whole("3,")), (0x1f105, Whole("4,")), (0x1f106, Whole("5,")), (0x1f107, Whole("6,")),
    (0x1f108, Whole("7,")), (0x1f109, Whole("8,")), (0x1f10a, Whole("9,")), (0x1f110, Whole("(a)")),
    (0x1f111, Whole("(b)")), (0x1f112, Whole("(c)")), (0x1f113, Whole("(d)")), (0x1f114, Whole("(e)")),
    (0x1f115, Whole("(f)")), (0x1f116, Whole("(g)")), (0x1f117, Whole("(h)")), (0x1f118, Whole("(i)")),
    (0x1f119, Whole("(j)")), (0x1f11a, Whole("(k)")), (0x1f11b, Whole("(l)")), (0x1f11c, Whole("(m)")),
    (0x1f11d, Whole("(n)")), (0x1f11e, Whole("(o)")), (0x1f11f, Whole("(p)")), (0x1f120, Whole("(q)")),
    (0x1f121, Whole("(r)")), (0x1f122, Whole("(s)")), (0x1f123, Whole("(t)")), (0x1f124, Whole("(u)")),
    (0x1f125, Whole("(v)")), (0x1f126, Whole("(w)")), (0x1f127, Whole("(x)")), (0x1f128, Whole("(y)")),
    (0x1f129, Whole("(z)")), (0x1f12a, Whole("\x7fs\x7f")), (0x1f12b, Each("cr")), (0x1f12d, Whole("cd")),
    (0x1f12e, Whole("wz")), (0x1f130, Each("abcdefghijklmnopqrstuvwxyz")), (0x1f14a, Whole("hv")),
    (0x1f14b, Whole("mv")), (0x1f14c, Whole("sd")), (0x1f14d, Whole("ss")), (0x1f14e, Whole("ppv")),
    (0x1f14f, Whole("wc")), (0x1f16a, Whole("mc")), (0x1f16b, Whole("md")), (0x1f16c, Whole("mr")),
    (0x1f190, Whole("dj")), (0x1fbf0, Each("0123456789")), (0xe0000, Nothing(0xe0fff)),
];

#[cfg(test)]
mod tests {
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    /// The full algorithm: NFKC, without what it drops, folded so that 'ẞ', 'ß' and "ss", or 'ı' and 'i', meet.
    fn fold_by_unicode(text: &str) -> String {
        text.nfkc()
            .filter(|&c| !is_ignorable(c))
            .flat_map(char::to_lowercase)
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .nfkc()
            .collect()
    }

    /// Unicode's `Default_Ignorable_Code_Point`.
    fn is_ignorable(c: char) -> bool {
        matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
    }

    /// What the table must say of a text that is folded so.
    fn ascii_of(folded: &str) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        for c in folded.chars() {
            match u8::try_from(c) {
                _ if c.is_whitespace() && !c.is_ascii() => bytes.push(b' '),
                Ok(byte) if byte.is_ascii() => bytes.push(byte),
                _ if bytes.last() == Some(&NON_ASCII) => {}
                _ => bytes.push(NON_ASCII),
            }
        }
        bytes
    }

    fn folded(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        text.chars().for_each(|c| fold_to_ascii(c, |byte| bytes.push(byte)));
        bytes
    }

    #[test]
    fn the_table_is_what_unicode_says_of_every_character() {
        for c in '\0'..=char::MAX {
            let expected = ascii_of(&fold_by_unicode(&c.to_string()));
            assert_eq!(folded(&c.to_string()), expected, "U+{:04X}", u32::from(c));
            let is_short = expected.len() <= MOST_PER_BYTE * c.len_utf8();
            assert!(is_short || expected.contains(&NON_ASCII), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn no_text_has_more_ascii_than_its_characters_on_their_own() {
        // what composes, reorders or joins: letters, marks of several classes, syllables, what is dropped
        let pieces = [
            "a",
            "K",
            "/",
            "%",
            ".",
            "4",
            " ",
            "\u{301}",
            "\u{323}",
            "\u{327}",
            "\u{345}",
            "\u{338}",
            "\u{ad}",
            "\u{200d}",
            "é",
            "ı",
            "İ",
            "ß",
            "ſ",
            "ǰ",
            "ŉ",
            "ｅ",
            "⒈",
            "½",
            "ﷺ",
            "\u{1100}",
            "\u{1161}",
            "\u{9be}",
            "\u{9c7}",
            "\u{212a}",
            "\u{fb01}",
            "\u{e0041}",
        ];
        for first in pieces {
            for second in pieces {
                for third in pieces {
                    let text = [first, second, third].concat();
                    let whole = ascii_of(&fold_by_unicode(&text));
                    let mut rest = folded(&text).into_iter();
                    let is_part = whole
                        .iter()
                        .filter(|byte| **byte != NON_ASCII)
                        .all(|byte| rest.by_ref().any(|other| other == *byte));
                    assert!(is_part, "{text:?}: {whole:?}");
                }
            }
        }
    }
}
