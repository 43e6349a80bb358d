// The command line of a demonstration, read by CLI11. Compiling what CLI11's header has takes as
// long as all the rest of a demonstration, so one source does it for all of them.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct argument {
    const char* name;
    const char* text;
    /// What stands for its value in the help.
    const char* type = "";
};

class command_line {
  public:
    /// `footer` comes last in the help.
    explicit command_line(const std::string& about, const std::string& footer = {});
    ~command_line();

    command_line(const command_line&) = delete;
    command_line& operator=(const command_line&) = delete;

    // Each is borrowed until parse() has returned. What is there is the default.

    void text(const argument& of, std::string& into);
    /// Must be given; `objection` says what is wrong with it, or nothing.
    void required_text(const argument& of, std::string& into,
                       std::string (*objection)(const std::string&));
    void one_of(const argument& of, std::string& into, const std::vector<std::string>& choices);
    /// What stands on the line by itself, any number of them; each one of `choices` if there are
    /// any.
    void list(const argument& of, std::vector<std::string>& into,
              const std::vector<std::string>& choices = {});
    void flag(const argument& of, bool& into);

    template <std::integral T>
    void number(const argument& of, T& into) {
        add_number(of, static_cast<std::uint64_t>(into), {0, most<T>, false},
                   [&into](std::uint64_t found) { into = static_cast<T>(found); });
    }

    template <std::integral T>
    void number(const argument& of, T& into, T least, T greatest) {
        add_number(of, static_cast<std::uint64_t>(into),
                   {static_cast<std::uint64_t>(least), static_cast<std::uint64_t>(greatest), true},
                   [&into](std::uint64_t found) { into = static_cast<T>(found); });
    }

    /// One of these must be given. It knows the arguments of this one, too, and lives as long.
    command_line& subcommand(const char* name, const char* text);
    /// Of a subcommand, after parse().
    [[nodiscard]] bool was_given() const;

    /// With which status the program is to end now: it has shown its help or version, or what is
    /// wrong. None where it is to go on.
    [[nodiscard]] std::optional<int> parse(int argc, char** argv);

  private:
    struct range {
        std::uint64_t least;
        std::uint64_t greatest;
        bool is_shown;
    };

    struct state;

    template <class T>
    static constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<T>::max());

    explicit command_line(std::unique_ptr<state> of);
    void add_number(const argument& of, std::uint64_t usual, range within,
                    std::function<void(std::uint64_t)> set);
    void set_numbers() const;

    std::unique_ptr<state> state_;
};
