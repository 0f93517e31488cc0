// The keys of a configuration, each once: from these lists come reading, writing, comparing and the
// known names.
#pragma once

#include "trm/train/config.h"

namespace trm {

/// Whether a run may go on with another value of a key: `free` ones decide how long it runs and
/// what it writes, not the weights it gets.
enum class OnResume { same, free };

template <class C, class F>
void arch_fields(C& c, F&& f) {
  f("arch.H_cycles", c.H_cycles);
  f("arch.L_cycles", c.L_cycles);
  f("arch.H_layers", c.H_layers);
  f("arch.L_layers", c.L_layers);
  f("arch.hidden_size", c.hidden_size);
  f("arch.num_heads", c.num_heads);
  f("arch.expansion", c.expansion);
  f("arch.puzzle_emb_ndim", c.puzzle_emb_ndim);
  f("arch.puzzle_emb_len", c.puzzle_emb_len);
  f("arch.pos_encodings", c.pos_encodings);
  f("arch.mlp_t", c.mlp_t);
  f("arch.rope_theta", c.rope_theta);
  f("arch.rms_norm_eps", c.rms_norm_eps);
  f("arch.forward_dtype", c.forward_dtype);
  f("arch.halt_max_steps", c.halt_max_steps);
  f("arch.halt_exploration_prob", c.halt_exploration_prob);
  f("arch.no_ACT_continue", c.no_ACT_continue);
  f("arch.act_enabled", c.act_enabled);
  f("arch.act_inference", c.act_inference);
  f("arch.label_smoothing", c.label_smoothing);
  f("arch.q_loss_weight", c.q_loss_weight);
}

template <class C, class F>
void run_fields(C& c, F&& f) {
  using enum OnResume;
  f("data_paths", c.data_paths, same);
  f("data_paths_test", c.data_paths_test, free);
  f("evaluators", c.evaluators, free);
  f("global_batch_size", c.global_batch_size, same);
  f("epochs", c.epochs, same);
  f("eval_interval", c.eval_interval, same);  // it divides the epochs into the passes over the data
  f("min_eval_interval", c.min_eval_interval, free);
  f("checkpoint_every_eval", c.checkpoint_every_eval, free);
  f("eval_save_outputs", c.eval_save_outputs, free);
  f("lr", c.lr, same);
  f("lr_min_ratio", c.lr_min_ratio, same);
  f("lr_warmup_steps", c.lr_warmup_steps, same);
  f("beta1", c.beta1, same);
  f("beta2", c.beta2, same);
  f("weight_decay", c.weight_decay, same);
  f("muon_lr", c.muon_lr, same);
  f("muon_momentum", c.muon_momentum, same);
  f("muon_weight_decay", c.muon_weight_decay, same);
  f("muon_iterations", c.muon_iterations, same);
  f("puzzle_emb_lr", c.puzzle_emb_lr, same);
  f("puzzle_emb_weight_decay", c.puzzle_emb_weight_decay, same);
  f("seed", c.seed, same);
  f("ema", c.ema, same);
  f("ema_rate", c.ema_rate, same);
  f("freeze_weights", c.freeze_weights, same);
  f("project_name", c.project_name, free);
  f("run_name", c.run_name, free);
  f("checkpoint_path", c.checkpoint_path, free);
  f("load_checkpoint", c.load_checkpoint, free);
  f("micro_batch_size", c.micro_batch_size, same);
  f("gradient_checkpointing", c.gradient_checkpointing, same);
  f("checkpoint_every_steps", c.checkpoint_every_steps, free);
  f("keep_last", c.keep_last, free);
  f("max_steps", c.max_steps, free);
  f("max_seconds", c.max_seconds, free);
  f("max_eval_examples", c.max_eval_examples, free);
  f("tensorboard", c.tensorboard, free);
}

template <class C, class F>
void evaluator_fields(C& c, F&& f) {
  f("name", c.name);
  f("submission_K", c.submission_K);
  f("pass_Ks", c.pass_Ks);
  f("aggregated_voting", c.aggregated_voting);
}

}  // namespace trm
