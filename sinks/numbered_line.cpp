#include <sapwood/crc32c.hpp>
#include <sapwood/numbered_line.hpp>

#include <bit>
#include <charconv>
#include <cstring>

namespace sapwood {

namespace {

constexpr char hexadecimal[] = "0123456789abcdef";

/// What the checksum is of: the lsn, a space whether it is marked or not, and what is behind the
/// head.
std::uint32_t checksum_of(std::string_view line) noexcept {
    char front[numbered_line::lsn_digits + 1];
    std::memcpy(front, line.data(), numbered_line::lsn_digits);
    front[numbered_line::lsn_digits] = ' ';
    return crc32c(line.substr(numbered_line::head_bytes),
                  crc32c(std::string_view(front, sizeof(front))));
}

/// Eight decimal digits, all at once.
bool read_eight(const char* digits, std::uint64_t& into) noexcept {
    constexpr std::uint64_t each = 0x0101010101010101;
    std::uint64_t word = 0;
    std::memcpy(&word, digits, sizeof(word));
    if constexpr (std::endian::native == std::endian::big) {
        word = __builtin_bswap64(word);
    }
    if ((((word + 0x46 * each) | (word - '0' * each)) & 0x80 * each) != 0) {
        return false; // one of them is below '0' or above '9'
    }
    word -= '0' * each;
    word = word * 10 + (word >> 8); // pairs, in every other byte
    constexpr std::uint64_t pairs = 0x000000ff000000ff;
    into = ((word & pairs) * (100 + (1000000ull << 32)) +
            ((word >> 16) & pairs) * (1 + (10000ull << 32))) >>
           32;
    return true;
}

bool read_lsn(const char* digits, std::uint64_t& into) noexcept {
    static_assert(numbered_line::lsn_digits == 16);
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    if (!read_eight(digits, high) || !read_eight(digits + 8, low)) {
        return false;
    }
    into = high * 100000000 + low;
    return true;
}

template <class Number>
bool read_all(std::string_view digits, Number& into, int base) noexcept {
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), into, base);
    return error == std::errc() && end == digits.data() + digits.size();
}

} // namespace

numbered_line numbered_line::parse_head(std::string_view line) noexcept {
    numbered_line found;
    std::uint64_t number = 0;
    std::uint32_t crc = 0;
    if (line.size() < head_bytes || (line[mark_at] != ' ' && line[mark_at] != mark) ||
        line[head_bytes - 1] != ' ' || !read_lsn(line.data(), number) ||
        !read_all(line.substr(crc_at, crc_digits), crc, 16)) {
        return found;
    }
    found.is = state::whole;
    found.is_marked = line[mark_at] == mark;
    found.place = static_cast<lsn>(number);
    found.checksum = crc;
    return found;
}

numbered_line numbered_line::parse(std::string_view line) noexcept {
    numbered_line_parts all;
    all.add(line);
    return all.parse();
}

void numbered_line_parts::add(std::string_view part) noexcept {
    has_zeros_ = has_zeros_ || part.find('\0') != part.npos;
    if (has_begun_) {
        crc_ = crc32c(part, crc_);
        return;
    }
    has_begun_ = true;
    if (!has_zeros_) {
        head_ = numbered_line::parse_head(part);
        crc_ = head_.is == numbered_line::state::whole ? checksum_of(part) : 0;
    }
}

numbered_line numbered_line_parts::parse() const noexcept {
    numbered_line found = head_;
    if (has_zeros_) {
        found = {};
        found.is = numbered_line::state::broken;
    } else if (found.is == numbered_line::state::whole && found.checksum != crc_) {
        found.is = numbered_line::state::broken;
    }
    return found;
}

std::size_t take_present(std::string_view lines, std::span<const lsn>& present) noexcept {
    std::size_t bytes = 0;
    while (bytes < lines.size() && !present.empty()) {
        const std::string_view line = lines.substr(bytes, lines.find('\n', bytes) - bytes);
        std::uint64_t number = 0;
        if (line.size() < numbered_line::head_bytes || !read_lsn(line.data(), number) ||
            lsn{number} != present.front()) {
            break;
        }
        present = present.subspan(1);
        bytes += line.size() + 1;
    }
    return bytes;
}

line_producer line_producer::of(std::string_view line) noexcept {
    // Behind the head come date, time, producer.
    line_producer found;
    std::size_t at = numbered_line::head_bytes;
    for (int field = 0; field < 2; ++field) {
        at = line.find(' ', at);
        if (at == line.npos) {
            return found;
        }
        ++at;
    }
    const std::string_view field = line.substr(at, line.find(' ', at) - at);
    const auto hash = field.find('#');
    found.is_known = read_all(field.substr(0, hash), found.id, 10) &&
                     (hash == field.npos || read_all(field.substr(hash + 1), found.sequence, 10));
    return found;
}

void line_head::set(lsn next) noexcept {
    next_ = next;
    std::uint64_t rest = to_number(next);
    for (std::size_t i = sizeof(digits_); i-- > 0; rest /= 10) {
        digits_[i] = static_cast<char>('0' + rest % 10);
    }
}

void line_head::put(char* line, std::size_t size) const noexcept {
    // What the checksum is of stands together for a moment: the lsn where the checksum will be.
    constexpr std::size_t front = numbered_line::head_bytes - numbered_line::lsn_digits - 1;
    std::memcpy(line + front, digits_, sizeof(digits_));
    line[numbered_line::head_bytes - 1] = ' ';
    const std::uint32_t crc = crc32c({line + front, size - front});
    put_digits(line, crc);
}

void line_head::put_apart(char* head, std::string_view text) const noexcept {
    std::memcpy(head, digits_, sizeof(digits_));
    head[numbered_line::lsn_digits] = ' ';
    put_digits(head, crc32c(text, crc32c({head, numbered_line::lsn_digits + 1})));
    head[numbered_line::head_bytes - 1] = ' ';
}

void line_head::put_digits(char* head, std::uint32_t crc) const noexcept {
    std::memcpy(head, digits_, sizeof(digits_));
    head[numbered_line::mark_at] = ' ';
    for (std::size_t i = 0; i < numbered_line::crc_digits; ++i) {
        head[numbered_line::crc_at + i] = hexadecimal[(crc >> (28 - 4 * i)) & 0xf];
    }
}

} // namespace sapwood
