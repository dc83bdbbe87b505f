/* bprior.h - v0.1.0 - behavior priors for reinforcement learning, in one C header. MIT licence (end of file).
 *
 * A behavior prior is a policy that is learned from many tasks while seeing less than the agent does, and
 * that pulls the agent's policy toward itself by a KL term: what is common to all tasks is learned once.
 * This header holds the whole of it: MDP types and environments, networks with hand-written backprop,
 * KL-regularised objectives, replay, Retrace, the SVG(0) learner, training runs, files. After "Behavior
 * Priors for Efficient Reinforcement Learning" (Tirumala et al. 2020); E1, E2, ... are its equations.
 *
 * DO THIS
 *     #define BPRIOR_IMPLEMENTATION       // in exactly one C or C++ file
 *     #include "bprior.h"                 // everywhere else without the #define
 *     cc -O2 program.c -lm                // -DBPRIOR_THREADS -pthread to use several cores
 *
 * NEEDS a C99 or C++11 compiler, libc and libm; nothing else. All options: chapter 1.
 *
 * CONTENTS (search for the tags: each is found here, at its declarations and at its implementation)
 *   1. >>status         configuration, errors          11. >>objectives   KL-regularised objectives
 *   2. >>memory         allocators and arenas          12. >>distral      many tasks, one prior
 *   3. >>random         counter-based random numbers   13. >>asymmetry    who sees which fields
 *   4. >>linalg         kernels, threads               14. >>policies     policies and priors
 *   5. >>distributions  Gaussian, categorical          15. (reserved: latent lower bounds)
 *   6. >>layers         linear, layer norm, LSTM       16. >>replay       replay of sequences
 *   7. >>networks       MLPs, recurrent networks       17. >>retrace      Retrace targets
 *   8. >>optimiser      Adam, schedules                18. >>learner      the SVG(0)/Retrace learner
 *   9. >>environments   MDP types, wrappers, pendulum  19. >>runs         actors and training runs
 *  10. >>finite         finite MDPs, solved exactly    20. >>files        files and logs
 *
 * A WHOLE PROGRAM: the swing-up of a pendulum, from nothing, in some ten seconds. The tests compile and run it
 * exactly as it stands here.
 *
 *     --- tldr.c ---
 *     #define BPRIOR_IMPLEMENTATION
 *     #include "bprior.h"
 *     #include <stdio.h>
 *
 *     static void show(void *ctx, const char *text) {
 *         fputs(text, (FILE *)ctx);
 *     }
 *
 *     int main(void) {
 *         bp_error error;
 *         bp_evaluation before, after;
 *         bp_run *run = NULL;
 *         bp_status status;
 *
 *         // What to learn: swing up a pendulum. Your own world goes here: a bp_env is four functions (>>environments).
 *         bp_run_config config = bp_run_config_default();
 *         config.envs = bp_pendulum_maker(NULL);
 *         config.env_steps = 6000;
 *         config.min_sequences = 200;      // noise first: 200 sequences of 5 steps
 *         config.samples_per_insert = 128; // how often each is learned from
 *
 *         // How: a policy pulled toward a prior, here the plainest one, N(0, 1) in every state.
 *         // BP_PRIOR_LEARNED and a list of field names make it a behavior prior (examples/06_prior.c).
 *         config.learner.prior_kind = BP_PRIOR_ISOTROPIC;
 *         config.learner.alpha = bp_schedule_constant(0.2); // reward per nat of straying from the prior
 *         config.learner.length = 5, config.learner.batch = 32, config.learner.samples = 4;
 *         config.learner.policy_adam.lr = config.learner.critic_adam.lr = 1e-3;
 *         config.status = show, config.status_ctx = stderr;
 *
 *         // Train. With config.directory set, everything is also saved there and can be resumed.
 *         status = bp_run_create(&run, &config, NULL, &error);
 *         if (status == BP_OK) status = bp_run_evaluate(&before, NULL, run, BP_PLAY_POLICY, 10, 7, false, &error);
 *         if (status == BP_OK) status = bp_run_train(run, &error);
 *         if (status == BP_OK) status = bp_run_evaluate(&after, NULL, run, BP_PLAY_POLICY, 10, 7, false, &error);
 *         if (status == BP_OK) printf("return %.0f before, %.0f after\n", before.mean, after.mean);
 *         else fprintf(stderr, "%s\n", error.text);
 *
 *         // The trained policy: bp_run_export() writes it, bp_agent_load() brings it into your own loop (>>files).
 *         bp_run_destroy(run);
 *         return status == BP_OK ? 0 : 1;
 *     }
 *     --- end ---
 *
 * NAMES. bp_x is a type or a function, BP_X a constant or a macro, BPRIOR_X an option; bpi_ and BPI_ are
 * private. Verbs: _eval computes and keeps nothing, _forward keeps what _backward needs, _backward ADDS to
 * the gradients it is given, _backward_input gives the gradient of the input alone. Arguments come in the
 * order: object, outputs, saved values, inputs, parameters, sizes, error. Arrays are row-major with time
 * first, and every pointer's comment has its shape: [T+1][B][D].
 *
 * CONFIGURATION. bp_x_config c = bp_x_config_default(); then change fields; then bp_x_create(&x, &c, ...).
 * Zero is never "use the default", since zero is a setting that people mean. A struct that was only zeroed,
 * or that comes from a unit compiled for another scalar, is refused with a status.
 *
 * MEMORY. Objects come in three spellings: bp_x_size() says how many bytes, bp_x_init() builds in memory that
 * you own, bp_x_create() asks an allocator (NULL: malloc) once and bp_x_destroy() gives it back. After that
 * nothing is allocated: no environment step and no learner step touches the heap. A network is only sizes;
 * its parameters are one array of yours, so a copy, a gradient or an average is a loop.
 *
 * THREADS. There are no global variables, so different objects may be used from different threads freely; one
 * object, unless it says otherwise, from one thread at a time. With BPRIOR_THREADS a run shares its work
 * among several cores; without it the same code runs as plain loops.
 *
 * DETERMINISM. The same seed gives the same numbers, for any number of threads: work is cut into pieces
 * whose number and order belong to the configuration, not to the machine. Random numbers and the reference
 * kernel are the same bits everywhere; the vector kernels are repeatable on CPUs with the same features.
 * -ffast-math is refused. Contraction of a*b+c is switched off where the compiler lets a file do so (chapter 1);
 * -ffp-contract=off on the command line settles it for the others.
 *
 * ERRORS. What can fail returns a bp_status, 0 when well, and fills the bp_error that you pass (or NULL)
 * with a sentence naming the values. The library never prints, exits or aborts; messages of long runs go to
 * the callback you set.
 *
 * PORTING. Chapters 1 to 18 use nothing beyond C99's library; threads want pthreads, files want POSIX for
 * safe renaming. BPRIOR_NO_SIMD leaves out the kernels of particular CPUs. Two libraries that both contain
 * bprior live together in one program if each says BPRIOR_STATIC (private copy in one file) or
 * #define BPRIOR_PREFIX mylib_ (bp_version becomes mylib_bp_version; several files).
 */
#ifndef BPRIOR_H
#define BPRIOR_H
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

/* Every public function renamed to BPRIOR_PREFIX##bp_name. A program generates this list from the
 * declarations, and `make lint` checks that it is current. */
#ifdef BPRIOR_PREFIX
#define BPI_PASTE2(a, b) a##b
#define BPI_PASTE(a, b) BPI_PASTE2(a, b)
#define BPI_PREFIXED(name) BPI_PASTE(BPRIOR_PREFIX, name)
/* [prefix list: tools/prefix.sh] */
#define bp_status_str BPI_PREFIXED(bp_status_str)
#define bp_version BPI_PREFIXED(bp_version)
#define bp_real_size BPI_PREFIXED(bp_real_size)
#define bp_alloc BPI_PREFIXED(bp_alloc)
#define bp_free BPI_PREFIXED(bp_free)
#define bp_size_mul BPI_PREFIXED(bp_size_mul)
#define bp_size_add BPI_PREFIXED(bp_size_add)
#define bp_arena_make BPI_PREFIXED(bp_arena_make)
#define bp_arena_take BPI_PREFIXED(bp_arena_take)
#define bp_arena_real BPI_PREFIXED(bp_arena_real)
#define bp_arena_unpoison BPI_PREFIXED(bp_arena_unpoison)
#define bp_philox BPI_PREFIXED(bp_philox)
#define bp_rng_make BPI_PREFIXED(bp_rng_make)
#define bp_rng_u32 BPI_PREFIXED(bp_rng_u32)
#define bp_rng_u64 BPI_PREFIXED(bp_rng_u64)
#define bp_rng_uniform BPI_PREFIXED(bp_rng_uniform)
#define bp_rng_uniform_in BPI_PREFIXED(bp_rng_uniform_in)
#define bp_rng_normal BPI_PREFIXED(bp_rng_normal)
#define bp_rng_normals BPI_PREFIXED(bp_rng_normals)
#define bp_rng_index BPI_PREFIXED(bp_rng_index)
#define bp_rng_shuffle BPI_PREFIXED(bp_rng_shuffle)
#define bp_rng_pick BPI_PREFIXED(bp_rng_pick)
#define bp_rng_skip BPI_PREFIXED(bp_rng_skip)
#define bp_seed_mix BPI_PREFIXED(bp_seed_mix)
#define bp_kernel_name BPI_PREFIXED(bp_kernel_name)
#define bp_compute_bytes BPI_PREFIXED(bp_compute_bytes)
#define bp_compute_init BPI_PREFIXED(bp_compute_init)
#define bp_gemm BPI_PREFIXED(bp_gemm)
#define bp_exp BPI_PREFIXED(bp_exp)
#define bp_log BPI_PREFIXED(bp_log)
#define bp_tanh BPI_PREFIXED(bp_tanh)
#define bp_softplus BPI_PREFIXED(bp_softplus)
#define bp_vec_act BPI_PREFIXED(bp_vec_act)
#define bp_vec_act_backward BPI_PREFIXED(bp_vec_act_backward)
#define bp_vec_act_backward_set BPI_PREFIXED(bp_vec_act_backward_set)
#define bp_vec_exp BPI_PREFIXED(bp_vec_exp)
#define bp_vec_log BPI_PREFIXED(bp_vec_log)
#define bp_vec_tanh BPI_PREFIXED(bp_vec_tanh)
#define bp_vec_softplus BPI_PREFIXED(bp_vec_softplus)
#define bp_vec_axpy BPI_PREFIXED(bp_vec_axpy)
#define bp_vec_dot BPI_PREFIXED(bp_vec_dot)
#define bp_vec_sumsq BPI_PREFIXED(bp_vec_sumsq)
#define bp_vec_sum_rows BPI_PREFIXED(bp_vec_sum_rows)
#define bp_team_create BPI_PREFIXED(bp_team_create)
#define bp_team_run BPI_PREFIXED(bp_team_run)
#define bp_team_threads BPI_PREFIXED(bp_team_threads)
#define bp_team_destroy BPI_PREFIXED(bp_team_destroy)
#define bp_gaussian_log_prob BPI_PREFIXED(bp_gaussian_log_prob)
#define bp_gaussian_log_prob_backward BPI_PREFIXED(bp_gaussian_log_prob_backward)
#define bp_gaussian_entropy BPI_PREFIXED(bp_gaussian_entropy)
#define bp_gaussian_entropy_backward BPI_PREFIXED(bp_gaussian_entropy_backward)
#define bp_gaussian_kl BPI_PREFIXED(bp_gaussian_kl)
#define bp_gaussian_kl_backward BPI_PREFIXED(bp_gaussian_kl_backward)
#define bp_gaussian_kl_uniform_box BPI_PREFIXED(bp_gaussian_kl_uniform_box)
#define bp_gaussian_sample BPI_PREFIXED(bp_gaussian_sample)
#define bp_gaussian_sample_backward BPI_PREFIXED(bp_gaussian_sample_backward)
#define bp_categorical_log_softmax BPI_PREFIXED(bp_categorical_log_softmax)
#define bp_categorical_log_softmax_backward BPI_PREFIXED(bp_categorical_log_softmax_backward)
#define bp_categorical_log_prob BPI_PREFIXED(bp_categorical_log_prob)
#define bp_categorical_log_prob_backward BPI_PREFIXED(bp_categorical_log_prob_backward)
#define bp_categorical_entropy BPI_PREFIXED(bp_categorical_entropy)
#define bp_categorical_entropy_backward BPI_PREFIXED(bp_categorical_entropy_backward)
#define bp_categorical_kl BPI_PREFIXED(bp_categorical_kl)
#define bp_categorical_kl_backward BPI_PREFIXED(bp_categorical_kl_backward)
#define bp_categorical_kl_uniform BPI_PREFIXED(bp_categorical_kl_uniform)
#define bp_categorical_sample BPI_PREFIXED(bp_categorical_sample)
#define bp_linear_eval BPI_PREFIXED(bp_linear_eval)
#define bp_linear_forward BPI_PREFIXED(bp_linear_forward)
#define bp_linear_backward BPI_PREFIXED(bp_linear_backward)
#define bp_linear_backward_input BPI_PREFIXED(bp_linear_backward_input)
#define bp_layer_norm_forward BPI_PREFIXED(bp_layer_norm_forward)
#define bp_layer_norm_eval BPI_PREFIXED(bp_layer_norm_eval)
#define bp_layer_norm_backward BPI_PREFIXED(bp_layer_norm_backward)
#define bp_layer_norm_backward_input BPI_PREFIXED(bp_layer_norm_backward_input)
#define bp_gaussian_head_default BPI_PREFIXED(bp_gaussian_head_default)
#define bp_gaussian_head_check BPI_PREFIXED(bp_gaussian_head_check)
#define bp_gaussian_head_forward BPI_PREFIXED(bp_gaussian_head_forward)
#define bp_gaussian_head_backward BPI_PREFIXED(bp_gaussian_head_backward)
#define bp_lstm_saved_reals BPI_PREFIXED(bp_lstm_saved_reals)
#define bp_lstm_work_reals BPI_PREFIXED(bp_lstm_work_reals)
#define bp_lstm_eval BPI_PREFIXED(bp_lstm_eval)
#define bp_lstm_forward BPI_PREFIXED(bp_lstm_forward)
#define bp_lstm_backward BPI_PREFIXED(bp_lstm_backward)
#define bp_init_variance_scaling BPI_PREFIXED(bp_init_variance_scaling)
#define bp_mlp_config_make BPI_PREFIXED(bp_mlp_config_make)
#define bp_mlp_init BPI_PREFIXED(bp_mlp_init)
#define bp_mlp_init_params BPI_PREFIXED(bp_mlp_init_params)
#define bp_mlp_find_view BPI_PREFIXED(bp_mlp_find_view)
#define bp_mlp_saved_reals BPI_PREFIXED(bp_mlp_saved_reals)
#define bp_mlp_work_reals BPI_PREFIXED(bp_mlp_work_reals)
#define bp_mlp_eval BPI_PREFIXED(bp_mlp_eval)
#define bp_mlp_forward BPI_PREFIXED(bp_mlp_forward)
#define bp_mlp_backward BPI_PREFIXED(bp_mlp_backward)
#define bp_mlp_backward_input BPI_PREFIXED(bp_mlp_backward_input)
#define bp_mlp_macs BPI_PREFIXED(bp_mlp_macs)
#define bp_rnn_init BPI_PREFIXED(bp_rnn_init)
#define bp_rnn_init_params BPI_PREFIXED(bp_rnn_init_params)
#define bp_rnn_saved_reals BPI_PREFIXED(bp_rnn_saved_reals)
#define bp_rnn_work_reals BPI_PREFIXED(bp_rnn_work_reals)
#define bp_rnn_eval BPI_PREFIXED(bp_rnn_eval)
#define bp_rnn_forward BPI_PREFIXED(bp_rnn_forward)
#define bp_rnn_backward BPI_PREFIXED(bp_rnn_backward)
#define bp_rnn_macs BPI_PREFIXED(bp_rnn_macs)
#define bp_fd_derivative BPI_PREFIXED(bp_fd_derivative)
#define bp_adam_config_make BPI_PREFIXED(bp_adam_config_make)
#define bp_adam_config_check BPI_PREFIXED(bp_adam_config_check)
#define bp_adam_step BPI_PREFIXED(bp_adam_step)
#define bp_global_norm BPI_PREFIXED(bp_global_norm)
#define bp_clip_scale BPI_PREFIXED(bp_clip_scale)
#define bp_schedule_constant BPI_PREFIXED(bp_schedule_constant)
#define bp_schedule_make BPI_PREFIXED(bp_schedule_make)
#define bp_schedule_check BPI_PREFIXED(bp_schedule_check)
#define bp_schedule_at BPI_PREFIXED(bp_schedule_at)
#define bp_dual_make BPI_PREFIXED(bp_dual_make)
#define bp_dual_check BPI_PREFIXED(bp_dual_check)
#define bp_dual_value BPI_PREFIXED(bp_dual_value)
#define bp_dual_update BPI_PREFIXED(bp_dual_update)
#define bp_polyak BPI_PREFIXED(bp_polyak)
#define bp_spec_begin BPI_PREFIXED(bp_spec_begin)
#define bp_spec_add_field BPI_PREFIXED(bp_spec_add_field)
#define bp_spec_actions_continuous BPI_PREFIXED(bp_spec_actions_continuous)
#define bp_spec_actions_discrete BPI_PREFIXED(bp_spec_actions_discrete)
#define bp_spec_check BPI_PREFIXED(bp_spec_check)
#define bp_spec_find BPI_PREFIXED(bp_spec_find)
#define bp_spec_equal BPI_PREFIXED(bp_spec_equal)
#define bp_spec_hash BPI_PREFIXED(bp_spec_hash)
#define bp_spec_action_ok BPI_PREFIXED(bp_spec_action_ok)
#define bp_env_close BPI_PREFIXED(bp_env_close)
#define bp_env_check BPI_PREFIXED(bp_env_check)
#define bp_env_rescale_actions BPI_PREFIXED(bp_env_rescale_actions)
#define bp_env_repeat BPI_PREFIXED(bp_env_repeat)
#define bp_env_time_limit BPI_PREFIXED(bp_env_time_limit)
#define bp_normaliser_size BPI_PREFIXED(bp_normaliser_size)
#define bp_normaliser_init BPI_PREFIXED(bp_normaliser_init)
#define bp_normaliser_create BPI_PREFIXED(bp_normaliser_create)
#define bp_normaliser_destroy BPI_PREFIXED(bp_normaliser_destroy)
#define bp_normaliser_exempt BPI_PREFIXED(bp_normaliser_exempt)
#define bp_normaliser_update BPI_PREFIXED(bp_normaliser_update)
#define bp_normaliser_apply BPI_PREFIXED(bp_normaliser_apply)
#define bp_env_normalise BPI_PREFIXED(bp_env_normalise)
#define bp_pendulum_config_make BPI_PREFIXED(bp_pendulum_config_make)
#define bp_pendulum_env BPI_PREFIXED(bp_pendulum_env)
#define bp_pendulum_maker BPI_PREFIXED(bp_pendulum_maker)
#define bp_pointmass_config_make BPI_PREFIXED(bp_pointmass_config_make)
#define bp_pointmass_env BPI_PREFIXED(bp_pointmass_env)
#define bp_pointmass_maker BPI_PREFIXED(bp_pointmass_maker)
#define bp_mdp_size BPI_PREFIXED(bp_mdp_size)
#define bp_mdp_init BPI_PREFIXED(bp_mdp_init)
#define bp_mdp_create BPI_PREFIXED(bp_mdp_create)
#define bp_mdp_destroy BPI_PREFIXED(bp_mdp_destroy)
#define bp_mdp_check BPI_PREFIXED(bp_mdp_check)
#define bp_mdp_random BPI_PREFIXED(bp_mdp_random)
#define bp_mdp_random_policy BPI_PREFIXED(bp_mdp_random_policy)
#define bp_mdp_uniform_policy BPI_PREFIXED(bp_mdp_uniform_policy)
#define bp_mdp_evaluate BPI_PREFIXED(bp_mdp_evaluate)
#define bp_mdp_soft_evaluate BPI_PREFIXED(bp_mdp_soft_evaluate)
#define bp_mdp_value_iteration BPI_PREFIXED(bp_mdp_value_iteration)
#define bp_mdp_greedy BPI_PREFIXED(bp_mdp_greedy)
#define bp_mdp_soft_value_iteration BPI_PREFIXED(bp_mdp_soft_value_iteration)
#define bp_mdp_soft_horizon BPI_PREFIXED(bp_mdp_soft_horizon)
#define bp_mdp_visitation BPI_PREFIXED(bp_mdp_visitation)
#define bp_q_learning_update BPI_PREFIXED(bp_q_learning_update)
#define bp_inference_backward_messages BPI_PREFIXED(bp_inference_backward_messages)
#define bp_inference_policy BPI_PREFIXED(bp_inference_policy)
#define bp_inference_forward_messages BPI_PREFIXED(bp_inference_forward_messages)
#define bp_inference_marginals BPI_PREFIXED(bp_inference_marginals)
#define bp_gridworld_config_make BPI_PREFIXED(bp_gridworld_config_make)
#define bp_gridworld_create BPI_PREFIXED(bp_gridworld_create)
#define bp_gridworld_destroy BPI_PREFIXED(bp_gridworld_destroy)
#define bp_gridworld_state BPI_PREFIXED(bp_gridworld_state)
#define bp_gridworld_draw BPI_PREFIXED(bp_gridworld_draw)
#define bp_mdp_env BPI_PREFIXED(bp_mdp_env)
#define bp_prior_kind_str BPI_PREFIXED(bp_prior_kind_str)
#define bp_prior_kind_parse BPI_PREFIXED(bp_prior_kind_parse)
#define bp_regularised_reward BPI_PREFIXED(bp_regularised_reward)
#define bp_box_log_volume BPI_PREFIXED(bp_box_log_volume)
#define bp_uniform_kl BPI_PREFIXED(bp_uniform_kl)
#define bp_mdp_objective BPI_PREFIXED(bp_mdp_objective)
#define bp_mdp_softmax BPI_PREFIXED(bp_mdp_softmax)
#define bp_mdp_objective_backward BPI_PREFIXED(bp_mdp_objective_backward)
#define bp_trajectory_enumerate BPI_PREFIXED(bp_trajectory_enumerate)
#define bp_distral_check BPI_PREFIXED(bp_distral_check)
#define bp_distral_classes BPI_PREFIXED(bp_distral_classes)
#define bp_distral_objective BPI_PREFIXED(bp_distral_objective)
#define bp_distral_loss BPI_PREFIXED(bp_distral_loss)
#define bp_distral_best_prior BPI_PREFIXED(bp_distral_best_prior)
#define bp_distral_value_iteration BPI_PREFIXED(bp_distral_value_iteration)
#define bp_distral_best_policies BPI_PREFIXED(bp_distral_best_policies)
#define bp_distral_solve BPI_PREFIXED(bp_distral_solve)
#define bp_distral_two_column BPI_PREFIXED(bp_distral_two_column)
#define bp_distral_backward BPI_PREFIXED(bp_distral_backward)
#define bp_distral_config_make BPI_PREFIXED(bp_distral_config_make)
#define bp_distral_learner_size BPI_PREFIXED(bp_distral_learner_size)
#define bp_distral_learner_init BPI_PREFIXED(bp_distral_learner_init)
#define bp_distral_learner_create BPI_PREFIXED(bp_distral_learner_create)
#define bp_distral_learner_destroy BPI_PREFIXED(bp_distral_learner_destroy)
#define bp_distral_learner_round BPI_PREFIXED(bp_distral_learner_round)
#define bp_distral_learner_policies BPI_PREFIXED(bp_distral_learner_policies)
#define bp_tworooms_config_make BPI_PREFIXED(bp_tworooms_config_make)
#define bp_tworooms_create BPI_PREFIXED(bp_tworooms_create)
#define bp_tworooms_destroy BPI_PREFIXED(bp_tworooms_destroy)
#define bp_tworooms_state BPI_PREFIXED(bp_tworooms_state)
#define bp_tworooms_classes BPI_PREFIXED(bp_tworooms_classes)
#define bp_tworooms_slice BPI_PREFIXED(bp_tworooms_slice)
#define bp_field_set_make BPI_PREFIXED(bp_field_set_make)
#define bp_field_set_has BPI_PREFIXED(bp_field_set_has)
#define bp_field_gather BPI_PREFIXED(bp_field_gather)
#define bp_field_gather_backward BPI_PREFIXED(bp_field_gather_backward)
#define bp_asymmetric_expand BPI_PREFIXED(bp_asymmetric_expand)
#define bp_asymmetric_objective BPI_PREFIXED(bp_asymmetric_objective)
#define bp_distillation_loss BPI_PREFIXED(bp_distillation_loss)
#define bp_distillation_backward BPI_PREFIXED(bp_distillation_backward)
#define bp_distilled_prior BPI_PREFIXED(bp_distilled_prior)
#define bp_asymmetric_solve BPI_PREFIXED(bp_asymmetric_solve)
#define bp_policy_config_make BPI_PREFIXED(bp_policy_config_make)
#define bp_policy_init BPI_PREFIXED(bp_policy_init)
#define bp_policy_init_level BPI_PREFIXED(bp_policy_init_level)
#define bp_policy_init_params BPI_PREFIXED(bp_policy_init_params)
#define bp_policy_view BPI_PREFIXED(bp_policy_view)
#define bp_policy_macs BPI_PREFIXED(bp_policy_macs)
#define bp_policy_unroll_saved_reals BPI_PREFIXED(bp_policy_unroll_saved_reals)
#define bp_policy_unroll_work_reals BPI_PREFIXED(bp_policy_unroll_work_reals)
#define bp_policy_unroll_eval BPI_PREFIXED(bp_policy_unroll_eval)
#define bp_policy_unroll_forward BPI_PREFIXED(bp_policy_unroll_forward)
#define bp_policy_unroll_backward BPI_PREFIXED(bp_policy_unroll_backward)
#define bp_policy_saved_reals BPI_PREFIXED(bp_policy_saved_reals)
#define bp_policy_work_reals BPI_PREFIXED(bp_policy_work_reals)
#define bp_policy_eval BPI_PREFIXED(bp_policy_eval)
#define bp_policy_forward BPI_PREFIXED(bp_policy_forward)
#define bp_policy_backward BPI_PREFIXED(bp_policy_backward)
#define bp_policy_sample BPI_PREFIXED(bp_policy_sample)
#define bp_policy_mode BPI_PREFIXED(bp_policy_mode)
#define bp_policy_log_prob BPI_PREFIXED(bp_policy_log_prob)
#define bp_policy_entropy BPI_PREFIXED(bp_policy_entropy)
#define bp_policy_entropy_backward BPI_PREFIXED(bp_policy_entropy_backward)
#define bp_policy_kl BPI_PREFIXED(bp_policy_kl)
#define bp_policy_kl_backward BPI_PREFIXED(bp_policy_kl_backward)
#define bp_policy_isotropic BPI_PREFIXED(bp_policy_isotropic)
#define bp_latent_config_make BPI_PREFIXED(bp_latent_config_make)
#define bp_behavior_state_size BPI_PREFIXED(bp_behavior_state_size)
#define bp_behavior_work_reals BPI_PREFIXED(bp_behavior_work_reals)
#define bp_latent_due BPI_PREFIXED(bp_latent_due)
#define bp_behavior_act BPI_PREFIXED(bp_behavior_act)
#define bp_replay_config_make BPI_PREFIXED(bp_replay_config_make)
#define bp_sequence_reals BPI_PREFIXED(bp_sequence_reals)
#define bp_sequence_init BPI_PREFIXED(bp_sequence_init)
#define bp_sequence_begin BPI_PREFIXED(bp_sequence_begin)
#define bp_sequence_add BPI_PREFIXED(bp_sequence_add)
#define bp_sequence_boundary BPI_PREFIXED(bp_sequence_boundary)
#define bp_sequence_full BPI_PREFIXED(bp_sequence_full)
#define bp_sequence_carry BPI_PREFIXED(bp_sequence_carry)
#define bp_replay_size BPI_PREFIXED(bp_replay_size)
#define bp_replay_capacity_for BPI_PREFIXED(bp_replay_capacity_for)
#define bp_replay_init BPI_PREFIXED(bp_replay_init)
#define bp_replay_create BPI_PREFIXED(bp_replay_create)
#define bp_replay_destroy BPI_PREFIXED(bp_replay_destroy)
#define bp_replay_insert BPI_PREFIXED(bp_replay_insert)
#define bp_batch_reals BPI_PREFIXED(bp_batch_reals)
#define bp_batch_init BPI_PREFIXED(bp_batch_init)
#define bp_replay_sample BPI_PREFIXED(bp_replay_sample)
#define bp_retrace_trace BPI_PREFIXED(bp_retrace_trace)
#define bp_retrace BPI_PREFIXED(bp_retrace)
#define bp_retrace_reference BPI_PREFIXED(bp_retrace_reference)
#define bp_rs0_config_make BPI_PREFIXED(bp_rs0_config_make)
#define bp_rs0_metric_count BPI_PREFIXED(bp_rs0_metric_count)
#define bp_rs0_metric_name BPI_PREFIXED(bp_rs0_metric_name)
#define bp_rs0_metric_value BPI_PREFIXED(bp_rs0_metric_value)
#define bp_rs0_size BPI_PREFIXED(bp_rs0_size)
#define bp_rs0_init BPI_PREFIXED(bp_rs0_init)
#define bp_rs0_create BPI_PREFIXED(bp_rs0_create)
#define bp_rs0_destroy BPI_PREFIXED(bp_rs0_destroy)
#define bp_rs0_step BPI_PREFIXED(bp_rs0_step)
#define bp_rs0_step_with_noise BPI_PREFIXED(bp_rs0_step_with_noise)
#define bp_rs0_gradients BPI_PREFIXED(bp_rs0_gradients)
#define bp_rs0_macs BPI_PREFIXED(bp_rs0_macs)
#define bp_rs0_policy_params BPI_PREFIXED(bp_rs0_policy_params)
#define bp_rs0_behavior BPI_PREFIXED(bp_rs0_behavior)
#define bp_rs0_act_work_reals BPI_PREFIXED(bp_rs0_act_work_reals)
#define bp_rs0_act BPI_PREFIXED(bp_rs0_act)
#define bp_rs0_replay_config BPI_PREFIXED(bp_rs0_replay_config)
#define bp_rs0_set_prior BPI_PREFIXED(bp_rs0_set_prior)
#define bp_rs0_tensor_count BPI_PREFIXED(bp_rs0_tensor_count)
#define bp_rs0_tensor BPI_PREFIXED(bp_rs0_tensor)
#define bp_run_config_make BPI_PREFIXED(bp_run_config_make)
#define bp_run_create BPI_PREFIXED(bp_run_create)
#define bp_run_destroy BPI_PREFIXED(bp_run_destroy)
#define bp_run_round BPI_PREFIXED(bp_run_round)
#define bp_run_finish BPI_PREFIXED(bp_run_finish)
#define bp_run_train BPI_PREFIXED(bp_run_train)
#define bp_run_checkpoint BPI_PREFIXED(bp_run_checkpoint)
#define bp_run_evaluate BPI_PREFIXED(bp_run_evaluate)
#define bp_run_export BPI_PREFIXED(bp_run_export)
#define bp_file_begin BPI_PREFIXED(bp_file_begin)
#define bp_file_write BPI_PREFIXED(bp_file_write)
#define bp_file_commit BPI_PREFIXED(bp_file_commit)
#define bp_file_abort BPI_PREFIXED(bp_file_abort)
#define bp_file_make_directory BPI_PREFIXED(bp_file_make_directory)
#define bp_crc32c BPI_PREFIXED(bp_crc32c)
#define bp_dtype_name BPI_PREFIXED(bp_dtype_name)
#define bp_dtype_size BPI_PREFIXED(bp_dtype_size)
#define bp_array_tensor BPI_PREFIXED(bp_array_tensor)
#define bp_array_of BPI_PREFIXED(bp_array_of)
#define bp_safetensors_write BPI_PREFIXED(bp_safetensors_write)
#define bp_safetensors_write_from BPI_PREFIXED(bp_safetensors_write_from)
#define bp_safetensors_open BPI_PREFIXED(bp_safetensors_open)
#define bp_safetensors_open_memory BPI_PREFIXED(bp_safetensors_open_memory)
#define bp_safetensors_close BPI_PREFIXED(bp_safetensors_close)
#define bp_safetensors_find BPI_PREFIXED(bp_safetensors_find)
#define bp_safetensors_text BPI_PREFIXED(bp_safetensors_text)
#define bp_safetensors_read_real BPI_PREFIXED(bp_safetensors_read_real)
#define bp_safetensors_read_double BPI_PREFIXED(bp_safetensors_read_double)
#define bp_safetensors_read_u64 BPI_PREFIXED(bp_safetensors_read_u64)
#define bp_safetensors_read_bytes BPI_PREFIXED(bp_safetensors_read_bytes)
#define bp_safetensors_read_tensor BPI_PREFIXED(bp_safetensors_read_tensor)
#define bp_policy_save BPI_PREFIXED(bp_policy_save)
#define bp_agent_load BPI_PREFIXED(bp_agent_load)
#define bp_agent_load_memory BPI_PREFIXED(bp_agent_load_memory)
#define bp_agent_destroy BPI_PREFIXED(bp_agent_destroy)
#define bp_agent_reset BPI_PREFIXED(bp_agent_reset)
#define bp_agent_act BPI_PREFIXED(bp_agent_act)
#define bp_agent_sample BPI_PREFIXED(bp_agent_sample)
#define bp_agent_check BPI_PREFIXED(bp_agent_check)
#define bp_rs0_load_prior BPI_PREFIXED(bp_rs0_load_prior)
#define bp_csv_open BPI_PREFIXED(bp_csv_open)
#define bp_csv_row BPI_PREFIXED(bp_csv_row)
#define bp_csv_sync BPI_PREFIXED(bp_csv_sync)
#define bp_csv_close BPI_PREFIXED(bp_csv_close)
#define bp_events_open BPI_PREFIXED(bp_events_open)
#define bp_events_scalar BPI_PREFIXED(bp_events_scalar)
#define bp_events_sync BPI_PREFIXED(bp_events_sync)
#define bp_events_close BPI_PREFIXED(bp_events_close)
#define bp_status_line BPI_PREFIXED(bp_status_line)
/* [end of prefix list] */
#endif

#ifdef __cplusplus
extern "C" {
#endif
/* ==========================================================================
 * 1. >>status   Configuration and status
 *    provides: bp_real BP_R bp_status bp_error bp_logger BP_COOKIE bp_version
 *    needs: nothing        equations: none
 * ========================================================================== */

/** @defgroup bp_status_group 1. Configuration and status
 *  @brief The scalar type, the linkage of the functions, and how things fail.
 *
 *  ERRORS. A function that can fail returns a #bp_status: 0 is success, negative
 *  numbers are errors, positive ones are news that is no error. Its last argument
 *  is a #bp_error* that may be NULL; when it is not, the function leaves there a
 *  sentence that says which value was wrong and what would have been right. The
 *  library never prints, exits or aborts.
 *
 *  OPTIONS. Define these before including the header, and the same way in every
 *  file of a program:
 *
 *  | macro                      | effect                                                   |
 *  |----------------------------|----------------------------------------------------------|
 *  | `BPRIOR_IMPLEMENTATION`    | in exactly one file: also emit the function bodies       |
 *  | `BPRIOR_STATIC`            | all functions static: every file has a private copy      |
 *  | `BPRIOR_DOUBLE`            | #bp_real is double (slower; meant for checking gradients) |
 *  | `BPRIOR_THREADS`           | #bp_team uses POSIX threads instead of a plain loop      |
 *  | `BPRIOR_USE_CBLAS`         | adds #BP_KERNEL_CBLAS; link with a CBLAS library         |
 *  | `BPRIOR_NO_SIMD`           | leave out the kernels written for one family of CPUs     |
 *  | `BPRIOR_ALLOW_FAST_MATH`   | compile under -ffast-math all the same (see below)       |
 *
 *  DETERMINISM. Random numbers, the reference kernel and everything exact are
 *  built from + - * / and sqrt alone, which IEEE 754 defines to the last bit. Two
 *  compiler habits spoil that: -ffast-math, which lets the compiler reorder sums
 *  and forget NaN (refused with an #error), and contraction of a*b+c into one
 *  rounding. Contraction is switched off where the compiler has a switch inside
 *  the source; -ffp-contract=off on the command line settles it everywhere.
 *  @{ */

#define BPRIOR_VERSION_MAJOR 0 /**< Changes when programs must be edited to follow. */
#define BPRIOR_VERSION_MINOR 1 /**< Changes when something is added. */
#define BPRIOR_VERSION_PATCH 0 /**< Changes when something is repaired. */
#define BPRIOR_VERSION "0.1.0" /**< The three numbers as text. */

#ifdef BPRIOR_DOXYGEN
/** Linkage of every public function: `extern`, or `static` under `BPRIOR_STATIC`. */
#define BPRIOR_API
#elif defined(BPRIOR_STATIC)
#if defined(__GNUC__) || defined(__clang__) || defined(__TINYC__)
#define BPRIOR_API static __attribute__((unused))
#else
#define BPRIOR_API static
#endif
#elif !defined(BPRIOR_API)
#define BPRIOR_API extern
#endif

#ifdef BPRIOR_DOUBLE
typedef double bp_real;
#else
/** The number that networks, observations and actions are made of: float, or double under `BPRIOR_DOUBLE`. */
typedef float bp_real;
#endif

/** A constant or an expression as a #bp_real: `BP_R(0.5)`. */
#define BP_R(x) ((bp_real)(x))

/** The one list of statuses: X(name, value, sentence). The enum and #bp_status_str are both made from it. */
#define BP_STATUS_LIST(X)                                                                             \
    X(BP_OK, 0, "success")                                                                            \
    X(BP_ERR_ARGUMENT, -1, "an argument is out of range or missing")                                  \
    X(BP_ERR_CONFIG, -2, "a configuration was not made by its _config_default(), or is inconsistent") \
    X(BP_ERR_ABI, -3, "caller and library were compiled with another bp_real or another version")     \
    X(BP_ERR_MEMORY, -4, "out of memory")                                                             \
    X(BP_ERR_SIZE, -5, "a size overflows, or the memory given is too small")                          \
    X(BP_ERR_FIELD, -6, "no observation field has this name")                                         \
    X(BP_ERR_NONFINITE, -7, "a number is infinite or not a number")                                   \
    X(BP_ERR_ENV, -8, "the environment reported an error")                                            \
    X(BP_ERR_IO, -9, "a file could not be read or written")                                           \
    X(BP_ERR_FORMAT, -10, "a file is malformed")                                                      \
    X(BP_ERR_MISMATCH, -11, "a file belongs to another shape or specification")                       \
    X(BP_ERR_EMPTY, -12, "there is nothing to take from yet")                                         \
    X(BP_ERR_UNSUPPORTED, -13, "this build or this machine cannot do that")                           \
    X(BP_ERR_THREAD, -14, "a thread could not be started")                                            \
    X(BP_INTERRUPTED, 1, "stopped on request")

/** What a function that can fail returns. 0 success, < 0 error, > 0 news. */
typedef enum bp_status {
#define BP_STATUS_ENUM(name, value, text) name = value,
    BP_STATUS_LIST(BP_STATUS_ENUM)
#undef BP_STATUS_ENUM
        BP_STATUS_LAST_ = 2 /**< Not a status; ends the list. */
} bp_status;

/** @brief Detail of a failure, filled by the function that failed. The caller owns it; it needs no clean-up. */
typedef struct bp_error {
    bp_status status; /**< The same value the function returned. */
    char text[256];   /**< One sentence naming the values involved; always terminated; empty on success. */
} bp_error;

/** @brief The sentence that belongs to a status. Never NULL, also for numbers that are no status. Thread safe. */
BPRIOR_API const char *bp_status_str(bp_status status);

/** @brief Version of the compiled implementation; compare with #BPRIOR_VERSION to find a stale object file. */
BPRIOR_API const char *bp_version(void);

/** @brief sizeof(bp_real) of the compiled implementation: 4 or 8. */
BPRIOR_API size_t bp_real_size(void);

/** @brief First field of every configuration struct.
 *
 *  A configuration that was zeroed, forgotten, or made by a file compiled with another #bp_real or another
 *  version of the header must give an error code, not a crash. So `bp_x_config_default()` hands this number,
 *  computed where the CALLER is compiled, to the library, which compares it with its own:
 *  bits 28-31 hold a tag, bit 27 says whether bp_real is double, bits 16-26 the version, bits 0-15 sizeof(T). */
#define BP_COOKIE(T)                                                                         \
    ((uint32_t)0xB0000000u | (sizeof(bp_real) == 8 ? (uint32_t)0x08000000u : (uint32_t)0u) | \
     (((uint32_t)BPRIOR_VERSION_MAJOR & 7u) << 24) |                                         \
     (((uint32_t)BPRIOR_VERSION_MINOR & 255u) << 16) | ((uint32_t)sizeof(T) & 0xFFFFu))

/** @brief Receives one line of text, without newline. level: 0 information, 1 warning, 2 error. */
typedef void (*bp_log_fn)(void *ctx, int level, const char *text);

/** @brief Where messages go. A NULL `fn` means nowhere. */
typedef struct bp_logger {
    bp_log_fn fn; /**< Called from the thread that has something to say. */
    void *ctx;    /**< Handed to `fn` untouched. */
} bp_logger;

/** @} */

/* ==========================================================================
 * 2. >>memory   Memory
 *    provides: bp_allocator bp_alloc bp_free bp_size_mul bp_size_add bp_arena
 *    needs: 1        equations: none
 * ========================================================================== */

/** @defgroup bp_memory 2. Memory
 *  @brief Allocators with a context, checked sizes, and the arena objects are laid out in.
 *
 *  Every object of the library can be made in two ways. Either you ask `bp_x_size()`
 *  how many bytes it needs and hand them to `bp_x_init()`, or you call `bp_x_create()`,
 *  which does both with a #bp_allocator of yours (NULL: malloc and free). Nothing
 *  allocates after that: not per step, not per batch.
 *
 *  Inside, one function per object lays out its arrays with a #bp_arena. It runs
 *  twice: first on an arena without memory, which only counts, then on the real one.
 *  So the size and the layout cannot disagree.
 *  @{ */

/** Alignment in bytes of everything the library allocates: one cache line, one AVX-512 register. */
#define BP_ALIGN 64

/** @brief Where memory comes from. A NULL `bp_allocator *` anywhere means malloc and free. */
typedef struct bp_allocator {
    /** Returns `bytes` bytes at an address divisible by `align` (a power of two), or NULL. Need not clear them. */
    void *(*alloc)(void *ctx, size_t bytes, size_t align);
    /** Takes back what `alloc` returned, with the same `bytes`. */
    void (*free)(void *ctx, void *ptr, size_t bytes);
    void *ctx; /**< Handed to both untouched. */
} bp_allocator;

/** @brief Allocates `bytes` zeroed bytes, #BP_ALIGN-aligned.
 *  @param allocator NULL for malloc. Its thread safety is the caller's affair.
 *  @param bytes 0 is allowed and gives a pointer that must be freed like any other.
 *  @return NULL when there is no memory. */
BPRIOR_API void *bp_alloc(const bp_allocator *allocator, size_t bytes);

/** @brief Gives back what #bp_alloc returned; `allocator` and `bytes` must be the same. NULL `ptr` is ignored. */
BPRIOR_API void bp_free(const bp_allocator *allocator, void *ptr, size_t bytes);

/** @brief *out = a * b. Returns false, and *out = SIZE_MAX, if the product does not fit a size_t. */
BPRIOR_API bool bp_size_mul(size_t *out, size_t a, size_t b);

/** @brief *out = a + b. Returns false, and *out = SIZE_MAX, if the sum does not fit a size_t. */
BPRIOR_API bool bp_size_add(size_t *out, size_t a, size_t b);

/** @brief A block of memory handed out from front to back and never taken back piecewise. */
typedef struct bp_arena {
    unsigned char *base; /**< The block, or NULL: nothing is handed out, only counted. */
    size_t size;         /**< Bytes in the block; ignored while counting. */
    size_t used;         /**< Bytes taken so far. After a counting pass: the size the block must have. */
    bool overflow;       /**< Something did not fit or a size overflowed. Look once, at the end. */
} bp_arena;

/** @brief Starts an arena on `bytes` bytes at `mem`; NULL `mem` starts a counting pass.
 *
 *  `mem` may have any alignment: the counting pass reserves the #BP_ALIGN bytes that aligning may cost. */
BPRIOR_API bp_arena bp_arena_make(void *mem, size_t bytes);

/** @brief Takes `count` elements of `elem_size` bytes: #BP_ALIGN-aligned and zeroed.
 *
 *  Returns NULL while counting, and NULL with `overflow` set when they do not fit. Compiled with AddressSanitizer,
 *  each piece is followed by 64 forbidden bytes, so that running off an array inside an object is caught too. */
BPRIOR_API void *bp_arena_take(bp_arena *arena, size_t count, size_t elem_size);

/** @brief #bp_arena_take of n numbers. */
BPRIOR_API bp_real *bp_arena_real(bp_arena *arena, size_t n);

/** @brief Lifts the forbidden bytes from a block an arena has lived in.
 *
 *  Only needed under AddressSanitizer, and there only when a block that came from the stack, from a static array or
 *  from a pool of your own is used for something else afterwards. #bp_free does it by itself. */
BPRIOR_API void bp_arena_unpoison(void *mem, size_t bytes);

/** @} */

/** @addtogroup bp_memory
 * @{ */
/** @brief How an object came by its memory, so that its `_destroy` can give it back. Embedded in objects; read-only. */
typedef struct bp_owner {
    size_t bytes;           /**< size of the object's block; 0: the caller's memory, not ours to free */
    bool custom;            /**< allocated by `allocator`, else by malloc */
    bp_allocator allocator; /**< a copy, so that the caller's struct may be temporary */
} bp_owner;
/** @} */

/* ==========================================================================
 * 3. >>random   Random numbers
 *    provides: bp_rng bp_rng_* bp_philox bp_seed_mix
 *    needs: 1        equations: none
 * ========================================================================== */

/** @defgroup bp_random 3. Random numbers
 *  @brief A counter-based generator in a plain struct: copy it to fork it, write it to a file to save it.
 *
 *  Most generators keep a state and stir it. This one, Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel
 *  random numbers: as easy as 1, 2, 3", SC 2011), encrypts a counter: block number i of stream s under seed k is
 *  a fixed function of (i, s, k). So streams with different numbers never meet, skipping ahead costs nothing, and
 *  an actor, a learner and a replay can each own a stream of the same seed without knowing of one another.
 *
 *  Everything here gives the same bits on every machine with IEEE 754 arithmetic, also the normals: their logarithm,
 *  sine and cosine are computed below from + - * / and sqrt instead of by the C library.
 *
 *  A #bp_rng must not be used by two threads at once. Different ones are independent.
 *  @{ */

/** @brief Generator state: plain data without pointers. Fields may be read; change them only through the functions. */
typedef struct bp_rng {
    uint64_t seed;         /**< The key: the experiment. */
    uint64_t stream;       /**< Upper half of the counter: the purpose within the experiment. */
    uint64_t counter;      /**< Lower half: index of the next block of four words. */
    uint32_t block[4];     /**< Words of the last block drawn for words. */
    uint32_t words_left;   /**< How many of `block`, from the end, are still unused. */
    uint32_t normals_left; /**< How many of `normal`, from the end, are still unused. */
    double normal[4];      /**< Normals of the last block drawn for normals. */
} bp_rng;

/** @brief The block cipher itself: out[4] = Philox4x32-10 of counter[4] under key[2]. */
BPRIOR_API void bp_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

/** @brief A generator at the start of a stream. Any two numbers will do; 0 and 0 are as good as any. */
BPRIOR_API bp_rng bp_rng_make(uint64_t seed, uint64_t stream);

/** @brief 32 random bits. */
BPRIOR_API uint32_t bp_rng_u32(bp_rng *rng);

/** @brief 64 random bits. */
BPRIOR_API uint64_t bp_rng_u64(bp_rng *rng);

/** @brief Uniform in [0, 1): one of the 2^53 multiples of 2^-53. */
BPRIOR_API double bp_rng_uniform(bp_rng *rng);

/** @brief Uniform between lo and hi. Rounding to #bp_real can return hi itself; nothing outside is ever returned. */
BPRIOR_API bp_real bp_rng_uniform_in(bp_rng *rng, bp_real lo, bp_real hi);

/** @brief A standard normal number (mean 0, variance 1), at most 6.8 in magnitude. */
BPRIOR_API bp_real bp_rng_normal(bp_rng *rng);

/** @brief out[n] = n standard normals: the same numbers n calls of #bp_rng_normal give, several times faster. */
BPRIOR_API void bp_rng_normals(bp_real *out, bp_rng *rng, size_t n);

/** @brief Uniform integer in [0, n), without the bias of a remainder. n = 0 gives 0. */
BPRIOR_API size_t bp_rng_index(bp_rng *rng, size_t n);

/** @brief Shuffles idx[n] so that each of the n! orders is equally likely (Fisher-Yates). */
BPRIOR_API void bp_rng_shuffle(size_t *idx, bp_rng *rng, size_t n);

/** @brief An index in [0, n) with probability proportional to prob[n].
 *
 *  The weights must be >= 0 and need not add up to 1. Entries that are 0, negative or NaN are never picked; if there
 *  is no other, the answer is 0. */
BPRIOR_API size_t bp_rng_pick(bp_rng *rng, const bp_real *prob, size_t n);

/** @brief Jumps over `blocks` blocks (of four words or four normals) in no time, and drops what is buffered. */
BPRIOR_API void bp_rng_skip(bp_rng *rng, uint64_t blocks);

/** @brief Hashes three numbers to one: seeds for episodes, e.g. bp_seed_mix(seed, actor, episode). */
BPRIOR_API uint64_t bp_seed_mix(uint64_t seed, uint64_t a, uint64_t b);

/** @} */

/* ==========================================================================
 * 4. >>linalg   Linear algebra and compute
 *    provides: bp_compute bp_gemm bp_vec_* bp_exp bp_log bp_tanh bp_softplus bp_team
 *    needs: 1 2        equations: none
 * ========================================================================== */

/** @defgroup bp_linalg 4. Linear algebra and compute
 *  @brief One matrix product, a handful of loops, and threads.
 *
 *  Everything heavy in the library is a matrix product or an elementwise loop. Both exist in several versions, called
 *  kernels; #bp_compute_init picks the best one this CPU can run, so that a program compiled with plain -O2 still uses
 *  AVX2, AVX-512 or NEON.
 *
 *  WHAT STAYS THE SAME. The elementwise functions (exp, log, tanh, ...) have the same bits under every kernel and on
 *  every machine. Matrix products and dot products add in an order that depends on the kernel and on the shapes, and
 *  the vector kernels use fused multiply-adds, so their last bits differ from kernel to kernel; for one kernel and one
 *  shape they are always the same, whatever the number of threads. #BP_KERNEL_REFERENCE adds from first to last
 *  without fusing and has the same bits everywhere: it is the version to read, and the judge of the others.
 *
 *  NaN and infinities go through all of it as IEEE 754 says.
 *  @{ */

/** @brief Function applied to every output of a layer. The derivative is always found from the output y. */
typedef enum bp_activation {
    BP_ACT_NONE,    /**< y = x; y' = 1 */
    BP_ACT_TANH,    /**< y = tanh x; y' = 1 - y^2 */
    BP_ACT_ELU,     /**< y = x for x > 0, else exp(x) - 1; y' = 1 or y + 1 */
    BP_ACT_RELU,    /**< y = max(x, 0); y' = 1 for y > 0, else 0 */
    BP_ACT_SOFTPLUS /**< y = log(1 + exp x); y' = 1 - exp(-y) */
} bp_activation;

/** @brief The versions of the arithmetic. */
typedef enum bp_kernel {
    BP_KERNEL_AUTO,      /**< The fastest of VECTOR, AVX2, AVX512 and NEON that runs here. */
    BP_KERNEL_REFERENCE, /**< Plain loops; same bits everywhere. */
    BP_KERNEL_VECTOR,    /**< Blocked and packed, in portable C the compiler can vectorise. */
    BP_KERNEL_AVX2,      /**< x86 with AVX2 and FMA. */
    BP_KERNEL_AVX512,    /**< x86 with AVX-512 F, DQ, BW and VL. */
    BP_KERNEL_NEON,      /**< 64-bit ARM. */
    BP_KERNEL_CBLAS      /**< A CBLAS library does the products; only in builds with `BPRIOR_USE_CBLAS`. */
} bp_kernel;

/** @brief "reference", "avx512", ...; "unknown" for numbers that are no kernel. */
BPRIOR_API const char *bp_kernel_name(bp_kernel kernel);

struct bp_kernel_table; /* the functions of one kernel; private */

/** @brief A chosen kernel and its scratch memory. One per thread; holds no other state. */
typedef struct bp_compute {
    bp_kernel kernel;                    /**< What was chosen; never AUTO after #bp_compute_init. */
    const struct bp_kernel_table *table; /**< Its functions. */
    bp_real *pack;                       /**< Scratch for rearranged blocks of matrices. */
    size_t pack_bytes;                   /**< Its size. */
} bp_compute;

/** @brief Bytes of scratch memory that #bp_compute_init wants: the same for all kernels. */
BPRIOR_API size_t bp_compute_bytes(void);

/** @brief Chooses a kernel. This is the only place where the CPU is asked what it can do.
 *  @param c filled in.
 *  @param want a kernel, or #BP_KERNEL_AUTO.
 *  @param mem #bp_compute_bytes() bytes, #BP_ALIGN-aligned, that live as long as `c` does.
 *  @param error nullable.
 *  @return #BP_ERR_UNSUPPORTED if the CPU or the build lacks the kernel, #BP_ERR_ARGUMENT for bad memory. */
BPRIOR_API bp_status bp_compute_init(bp_compute *c, bp_kernel want, void *mem, bp_error *error);

/** @brief C = act( op(A) op(B) + beta C + bias ), row-major.
 *
 *  op(A) is [m][k]: A itself is [m][lda], or, with trans_a, [k][lda]. op(B) is [k][n]: B is [k][ldb], or, with
 *  trans_b, [n][ldb]. C is [m][ldc]. With beta = 0, C is written without being read, so it may hold anything, NaN
 *  included. C must not overlap A or B. m, n or k may be 0; with k = 0 the product is 0.
 *  @param c a compute; must not be in use by another thread.
 *  @param bias [n], added to every row, or NULL.
 *  @param act applied last. */
BPRIOR_API void bp_gemm(const bp_compute *c, bool trans_a, bool trans_b, size_t m, size_t n, size_t k, const bp_real *a,
                        size_t lda, const bp_real *b, size_t ldb, bp_real beta, bp_real *out, size_t ldc,
                        const bp_real *bias, bp_activation act);

/** @brief e^x, to 1.1 units in the last place, same bits everywhere. Overflows to infinity, underflows through the
 *  subnormal numbers to 0. */
BPRIOR_API bp_real bp_exp(bp_real x);

/** @brief Natural logarithm, to 1.1 units in the last place, same bits everywhere. log 0 = -infinity, log of less = NaN. */
BPRIOR_API bp_real bp_log(bp_real x);

/** @brief Hyperbolic tangent, to 3 units in the last place, same bits everywhere. Odd: tanh(-x) = -tanh(x). */
BPRIOR_API bp_real bp_tanh(bp_real x);

/** @brief log(1 + e^x), to 3 units in the last place, same bits everywhere. Never overflows: for large x it is x. */
BPRIOR_API bp_real bp_softplus(bp_real x);

/** @brief y[n] = act(x[n]). y may be x. */
BPRIOR_API void bp_vec_act(const bp_compute *c, bp_real *y, const bp_real *x, size_t n, bp_activation act);

/** @brief dx[n] += dy[n] * act'(.), the derivative taken from the OUTPUT y[n] of the activation. dx must not overlap dy or y. */
BPRIOR_API void bp_vec_act_backward(const bp_compute *c, bp_real *dx, const bp_real *dy, const bp_real *y, size_t n,
                                    bp_activation act);

/** @brief dx[n] = dy[n] * act'(.): #bp_vec_act_backward without the sum. dx may be dy. */
BPRIOR_API void bp_vec_act_backward_set(const bp_compute *c, bp_real *dx, const bp_real *dy, const bp_real *y, size_t n,
                                        bp_activation act);

/** @brief y[n] = exp(x[n]). y may be x. */
BPRIOR_API void bp_vec_exp(const bp_compute *c, bp_real *y, const bp_real *x, size_t n);

/** @brief y[n] = log(x[n]). y may be x. */
BPRIOR_API void bp_vec_log(const bp_compute *c, bp_real *y, const bp_real *x, size_t n);

/** @brief y[n] = tanh(x[n]). y may be x. */
BPRIOR_API void bp_vec_tanh(const bp_compute *c, bp_real *y, const bp_real *x, size_t n);

/** @brief y[n] = log(1 + exp(x[n])). y may be x. */
BPRIOR_API void bp_vec_softplus(const bp_compute *c, bp_real *y, const bp_real *x, size_t n);

/** @brief y[n] += a x[n]. */
BPRIOR_API void bp_vec_axpy(const bp_compute *c, bp_real *y, bp_real a, const bp_real *x, size_t n);

/** @brief Sum of x[i] y[i]. The order of the sum depends on the kernel. */
BPRIOR_API bp_real bp_vec_dot(const bp_compute *c, const bp_real *x, const bp_real *y, size_t n);

/** @brief Sum of x[i]^2 in double, in eight interleaved partial sums: same bits under every kernel. */
BPRIOR_API double bp_vec_sumsq(const bp_compute *c, const bp_real *x, size_t n);

/** @brief out[n] += the sum over the m rows of x[m][ldx]: the gradient of a bias. Adds from first row to last: same bits
 *  under every kernel. */
BPRIOR_API void bp_vec_sum_rows(const bp_compute *c, bp_real *out, const bp_real *x, size_t m, size_t n, size_t ldx);

/** @brief A fixed group of threads that share out jobs. */
typedef struct bp_team bp_team;

/** @brief One job. `index` is in [0, jobs), `worker` in [0, threads): scratch memory may be kept per worker. */
typedef void (*bp_job)(void *ctx, size_t index, size_t worker);

/** @brief Starts a team of `threads` threads, the caller counted. Builds without `BPRIOR_THREADS` accept only 1.
 *  @return #BP_ERR_THREAD when the system refuses a thread (nothing is left behind), #BP_ERR_UNSUPPORTED for more
 *  than one thread without `BPRIOR_THREADS`, #BP_ERR_ARGUMENT for 0, #BP_ERR_MEMORY. */
BPRIOR_API bp_status bp_team_create(bp_team **out, size_t threads, const bp_allocator *allocator, bp_error *error);

/** @brief Runs job(ctx, i, worker) for all i in [0, jobs) and returns when all are done.
 *
 *  Workers take the next index as they become free, so which worker runs which job is not repeatable: let results
 *  depend on `index` only. The caller works too, as worker 0. A NULL team runs everything in the caller, in order.
 *  One thread at a time may call this; jobs must not call it on the same team. */
BPRIOR_API void bp_team_run(bp_team *team, bp_job job, void *ctx, size_t jobs);

/** @brief Number of threads, the caller counted; 1 for NULL. */
BPRIOR_API size_t bp_team_threads(const bp_team *team);

/** @brief Ends the threads and frees the team. NULL is ignored. No job may be running. */
BPRIOR_API void bp_team_destroy(bp_team *team);

/** @} */

/* ==========================================================================
 * 5. >>distributions   Distributions and their derivatives
 *    provides: bp_gaussian_*  bp_categorical_*
 *    needs: 1, 3, 4        equations: E32 E33
 * ========================================================================== */
/** @defgroup bp_distributions 5. Distributions
 *  @brief The two distributions a policy can have, each with everything that training differentiates.
 *
 *  **What is here.** The diagonal Gaussian (continuous actions, E32) and the categorical (discrete actions, E33):
 *  log density, entropy, KL divergence, sampling, and the derivative of each. All functions work on *one row*, that is
 *  one distribution over `dim` independent numbers or over `n` choices; a batch is a loop over rows, because the caller
 *  nearly always masks or weights the rows differently.
 *
 *  **Conventions.** Logarithms are natural, so entropies and divergences are in nats. KL[p||q] = E_p[log p - log q]; the
 *  first pair of arguments is p (the policy), the second, with a 0 in its name, is q (the prior). A Gaussian is
 *  given by its mean and its standard deviation `std` itself, not by log std: the head of chapter 6 produces a positive
 *  std, and derivatives are with respect to that number.
 *
 *  **Backward functions add.** `_backward` takes `dout`, the derivative of the final loss with respect to the returned
 *  number, and *adds* `dout * d(out)/d(argument)` to each array it is given; pass NULL for an argument whose
 *  derivative is not wanted. Zero the arrays before the first contribution.
 *
 *  **Stability.** The divergences are computed in forms that stay accurate when the two distributions nearly coincide
 *  (the usual case when a policy follows its prior) and never come out negative by rounding; log-softmax subtracts the
 *  largest logit first, so that no exponential overflows.
 *
 *  **Thread safety.** All functions are pure (sampling changes only the generator it is given).
 *  @{
 */

/** @brief Log density of a diagonal Gaussian at `a` (E32).
 *  @f[ \log p(a) = -\sum_i \Big( \tfrac12 z_i^2 + \log \sigma_i + \tfrac12\log 2\pi \Big), \quad z_i = (a_i-m_i)/\sigma_i @f]
 *  @param a    [dim] the point
 *  @param mean [dim]
 *  @param std  [dim] standard deviations, all > 0
 *  @param dim  number of independent components; 0 gives 0
 *  @return the log density in nats; it may be positive, as it is a density and not a probability */
BPRIOR_API bp_real bp_gaussian_log_prob(const bp_real *a, const bp_real *mean, const bp_real *std, size_t dim);

/** @brief Derivative of bp_gaussian_log_prob(): adds to `da`, `dmean`, `dstd` (E32).
 *  @param da,dmean,dstd [dim] each, added to; any may be NULL
 *  @param dout derivative of the loss with respect to the log density
 *  @param a,mean,std [dim] as in the forward call
 *  @param dim  number of components */
BPRIOR_API void bp_gaussian_log_prob_backward(bp_real *da, bp_real *dmean, bp_real *dstd, bp_real dout, const bp_real *a,
                                              const bp_real *mean, const bp_real *std, size_t dim);

/** @brief Entropy of a diagonal Gaussian, @f$ \sum_i \log\sigma_i + \tfrac12\log 2\pi e @f$ (E32).
 *  @param std [dim] standard deviations, all > 0
 *  @param dim number of components
 *  @return nats; negative when the density is narrow */
BPRIOR_API bp_real bp_gaussian_entropy(const bp_real *std, size_t dim);

/** @brief Derivative of bp_gaussian_entropy(): adds `dout / std[i]` to `dstd[i]` (E32).
 *  @param dstd [dim] added to
 *  @param dout derivative of the loss with respect to the entropy
 *  @param std  [dim]
 *  @param dim  number of components */
BPRIOR_API void bp_gaussian_entropy_backward(bp_real *dstd, bp_real dout, const bp_real *std, size_t dim);

/** @brief KL divergence between two diagonal Gaussians (E32).
 *  @f[ KL = \sum_i \log\frac{\sigma^0_i}{\sigma_i} + \frac{\sigma_i^2 + (m_i-m^0_i)^2}{2(\sigma^0_i)^2} - \frac12 @f]
 *  @param mean,std   [dim] the first distribution (the policy), std > 0
 *  @param mean0,std0 [dim] the second (the prior), std0 > 0
 *  @param dim        number of components
 *  @return nats, never negative; exactly 0 when the two are equal, and accurate to a few units in the last place
 *          for nearly equal standard deviations, where the textbook formula loses every digit */
BPRIOR_API bp_real bp_gaussian_kl(const bp_real *mean, const bp_real *std, const bp_real *mean0, const bp_real *std0, size_t dim);

/** @brief Derivative of bp_gaussian_kl() by all four arguments (E32).
 *  @param dmean,dstd,dmean0,dstd0 [dim] each, added to; any may be NULL (a frozen prior needs neither of the last two)
 *  @param dout derivative of the loss with respect to the divergence
 *  @param mean,std,mean0,std0 [dim] as in the forward call
 *  @param dim number of components */
BPRIOR_API void bp_gaussian_kl_backward(bp_real *dmean, bp_real *dstd, bp_real *dmean0, bp_real *dstd0, bp_real dout,
                                        const bp_real *mean, const bp_real *std, const bp_real *mean0, const bp_real *std0,
                                        size_t dim);

/** @brief KL divergence of a Gaussian from the uniform distribution on a box, -H + log(volume): with this "prior" the KL
 *         term is entropy regularisation (E8, E32).
 *
 *  It ignores the mass that the Gaussian puts outside the box, as entropy-regularised agents do. Its derivative is
 *  bp_gaussian_entropy_backward() with `-dout`.
 *  @param std [dim] standard deviations, all > 0
 *  @param dim number of components
 *  @param log_volume log of the volume of the box: the sum of log(high - low)
 *  @return nats; can be negative for a Gaussian wider than the box */
BPRIOR_API bp_real bp_gaussian_kl_uniform_box(const bp_real *std, size_t dim, bp_real log_volume);

/** @brief Reparameterised sample `a = mean + std * noise` (E18, E32).
 *  @param a     [dim] out; may be the same array as `noise`
 *  @param mean,std [dim]
 *  @param noise [dim] independent standard normals, e.g. from bp_rng_normals()
 *  @param dim   number of components */
BPRIOR_API void bp_gaussian_sample(bp_real *a, const bp_real *mean, const bp_real *std, const bp_real *noise, size_t dim);

/** @brief Pullback of bp_gaussian_sample(): `dmean += da`, `dstd += da * noise`. This one line is what makes the policy
 *         gradient of E18 work: the derivative of the critic by the action becomes one of the loss by mean and std.
 *  @param dmean,dstd [dim] added to; either may be NULL
 *  @param da    [dim] derivative of the loss with respect to the sample
 *  @param noise [dim] as in the forward call
 *  @param dim   number of components */
BPRIOR_API void bp_gaussian_sample_backward(bp_real *dmean, bp_real *dstd, const bp_real *da, const bp_real *noise, size_t dim);

/** @brief Log-probabilities from logits: `logp[i] = logits[i] - log sum_j exp(logits[j])` (E33).
 *
 *  A logit of -INFINITY forbids a choice (probability 0), in this and in all categorical functions; at least one logit
 *  must be finite, and none may be +INFINITY.
 *  @param logp   [n] out; may be the same array as `logits`
 *  @param logits [n]
 *  @param n      number of choices, >= 1 */
BPRIOR_API void bp_categorical_log_softmax(bp_real *logp, const bp_real *logits, size_t n);

/** @brief Derivative of bp_categorical_log_softmax(): `dlogits[i] += dlogp[i] - exp(logp[i]) * sum(dlogp)` (E33).
 *  @param dlogits [n] added to
 *  @param dlogp   [n] derivative of the loss with respect to each log-probability
 *  @param logp    [n] the output of the forward call
 *  @param n       number of choices */
BPRIOR_API void bp_categorical_log_softmax_backward(bp_real *dlogits, const bp_real *dlogp, const bp_real *logp, size_t n);

/** @brief Log-probability of one choice (E33).
 *  @param logits [n]
 *  @param index  the choice, < n
 *  @param n      number of choices
 *  @return nats, <= 0 */
BPRIOR_API bp_real bp_categorical_log_prob(const bp_real *logits, size_t index, size_t n);

/** @brief Derivative of bp_categorical_log_prob(): `dlogits[i] += dout * ((i == index) - p[i])` (E33).
 *  @param dlogits [n] added to
 *  @param dout    derivative of the loss with respect to the log-probability
 *  @param logits  [n]
 *  @param index   the choice, < n
 *  @param n       number of choices */
BPRIOR_API void bp_categorical_log_prob_backward(bp_real *dlogits, bp_real dout, const bp_real *logits, size_t index, size_t n);

/** @brief Entropy `-sum p log p` (E33).
 *  @param logits [n]
 *  @param n      number of choices
 *  @return nats, between 0 and log n */
BPRIOR_API bp_real bp_categorical_entropy(const bp_real *logits, size_t n);

/** @brief Derivative of bp_categorical_entropy(): `dlogits[i] -= dout * p[i] * (log p[i] + H)` (E33).
 *  @param dlogits [n] added to
 *  @param dout    derivative of the loss with respect to the entropy
 *  @param logits  [n]
 *  @param n       number of choices */
BPRIOR_API void bp_categorical_entropy_backward(bp_real *dlogits, bp_real dout, const bp_real *logits, size_t n);

/** @brief KL divergence between two categorical distributions (E33).
 *  @param logits  [n] the first distribution (the policy)
 *  @param logits0 [n] the second (the prior)
 *  @param n       number of choices
 *  @return nats, never negative; +INFINITY when the prior forbids a choice that the policy makes */
BPRIOR_API bp_real bp_categorical_kl(const bp_real *logits, const bp_real *logits0, size_t n);

/** @brief Derivative of bp_categorical_kl() by both sets of logits (E33).
 *  @param dlogits,dlogits0 [n] added to; either may be NULL
 *  @param dout    derivative of the loss with respect to the divergence
 *  @param logits,logits0 [n]
 *  @param n       number of choices */
BPRIOR_API void bp_categorical_kl_backward(bp_real *dlogits, bp_real *dlogits0, bp_real dout, const bp_real *logits,
                                           const bp_real *logits0, size_t n);

/** @brief KL divergence from the uniform distribution, log n - H (E8, E33). Its derivative is
 *         bp_categorical_entropy_backward() with `-dout`.
 *  @param logits [n]
 *  @param n      number of choices
 *  @return nats, between 0 and log n */
BPRIOR_API bp_real bp_categorical_kl_uniform(const bp_real *logits, size_t n);

/** @brief Draws one choice; uses exactly one uniform number (E33).
 *  @param rng    the generator; advanced
 *  @param logits [n]
 *  @param n      number of choices, >= 1
 *  @return the index of the choice; never one whose probability is 0 */
BPRIOR_API size_t bp_categorical_sample(bp_rng *rng, const bp_real *logits, size_t n);

/** @} */

/* ==========================================================================
 * 6. >>layers   Layers
 *    provides: bp_linear_*  bp_layer_norm_*  bp_gaussian_head_*  bp_lstm_*  bp_init_variance_scaling
 *    needs: 1, 3, 4        equations: E35
 * ========================================================================== */
/** @defgroup bp_layers 6. Layers
 *  @brief The pieces a network is made of, each as a forward function with its hand-written derivative (E35).
 *
 *  **How backpropagation is written here.** If the loss is f and a layer computes y from x and weights w, its backward
 *  function is given dy = df/dy and computes dx = df/dx and dw = df/dw by the chain rule. An array named `dx` always has the
 *  shape of `x`. Four verbs, the same in the whole library:
 *
 *  | verb              | does                                                                                    |
 *  |-------------------|-----------------------------------------------------------------------------------------|
 *  | `_eval`           | computes y and keeps nothing                                                            |
 *  | `_forward`        | computes y and keeps in `saved` what backward will need                                 |
 *  | `_backward`       | ADDS to the gradients of parameters and inputs                                          |
 *  | `_backward_input` | ADDS to the gradient of the input only: what the policy gradient needs from the critic  |
 *
 *  Adding, rather than setting, lets several losses share one gradient array. The price, easy to overlook: zero the
 *  array before the first.
 *
 *  Matrices are row-major, a batch has one sample per row, and a layer's weights have one *column* per output:
 *  y[N][out] = x[N][in] w[in][out] + b[out].
 *
 *  **Thread safety.** Pure functions of their arguments, given one #bp_compute per thread.
 *  @{
 */

/** @brief y = act(x w + b), nothing saved (E35).
 *  @param c   compute context
 *  @param y   [n][out] out
 *  @param x   [n][in]
 *  @param w   [in][out]
 *  @param b   [out], or NULL for none
 *  @param n,in,out sizes
 *  @param act activation applied to the sum, BP_ACT_NONE for a plain affine map */
BPRIOR_API void bp_linear_eval(const bp_compute *c, bp_real *y, const bp_real *x, const bp_real *w, const bp_real *b, size_t n,
                               size_t in, size_t out, bp_activation act);

/** @brief The same as bp_linear_eval(): all that backward needs is x and y, which the caller has anyway. */
BPRIOR_API void bp_linear_forward(const bp_compute *c, bp_real *y, const bp_real *x, const bp_real *w, const bp_real *b, size_t n,
                                  size_t in, size_t out, bp_activation act);

/** @brief Derivative of the affine map x w + b: `dx += dy w^T`, `dw += x^T dy`, `db +=` column sums of dy (E35).
 *
 *  With an activation, pull dy back through it first: bp_vec_act_backward_set().
 *  @param c   compute context
 *  @param dx  [n][in] added to, or NULL
 *  @param dw  [in][out] added to, or NULL
 *  @param db  [out] added to, or NULL
 *  @param dy  [n][out] derivative by the affine map's result (before the activation)
 *  @param x   [n][in] as in the forward call; unused when dw is NULL
 *  @param w   [in][out]; unused when dx is NULL
 *  @param n,in,out sizes */
BPRIOR_API void bp_linear_backward(const bp_compute *c, bp_real *dx, bp_real *dw, bp_real *db, const bp_real *dy,
                                   const bp_real *x, const bp_real *w, size_t n, size_t in, size_t out);

/** @brief The dx part of bp_linear_backward(): `dx += dy w^T` (E35).
 *  @param c  compute context
 *  @param dx [n][in] added to
 *  @param dy [n][out]
 *  @param w  [in][out]
 *  @param n,in,out sizes */
BPRIOR_API void bp_linear_backward_input(const bp_compute *c, bp_real *dx, const bp_real *dy, const bp_real *w, size_t n,
                                         size_t in, size_t out);

/** @brief Added to the variance in layer normalisation, so that a constant row does not divide by zero. */
#define BP_LAYER_NORM_EPSILON 1e-5

/** @brief Layer normalisation: each row to mean 0 and variance 1, then scaled and shifted (E35).
 *  @f[ y_i = g_i \, (x_i - \bar x)\, r + s_i, \quad r = 1/\sqrt{\mathrm{var}(x) + 10^{-5}} @f]
 *  @param y     [n][dim] out; may be the same array as x
 *  @param saved [n][2] out: mean and r of each row, for backward
 *  @param x     [n][dim]
 *  @param gain  [dim] g, usually starts at 1
 *  @param shift [dim] s, usually starts at 0
 *  @param n,dim sizes; dim >= 1 */
BPRIOR_API void bp_layer_norm_forward(bp_real *y, bp_real *saved, const bp_real *x, const bp_real *gain, const bp_real *shift,
                                      size_t n, size_t dim);

/** @brief bp_layer_norm_forward() that saves nothing; the same bits.
 *  @param y     [n][dim] out; may be the same array as x
 *  @param x     [n][dim]
 *  @param gain,shift [dim]
 *  @param n,dim sizes; dim >= 1 */
BPRIOR_API void bp_layer_norm_eval(bp_real *y, const bp_real *x, const bp_real *gain, const bp_real *shift, size_t n, size_t dim);

/** @brief Derivative of bp_layer_norm_forward() (E35).
 *  @param dx     [n][dim] added to, or NULL
 *  @param dgain  [dim] added to, or NULL
 *  @param dshift [dim] added to, or NULL
 *  @param dy     [n][dim]
 *  @param saved  [n][2] from forward
 *  @param x      [n][dim] the input of forward (so x must not have been overwritten by y)
 *  @param gain   [dim]
 *  @param n,dim  sizes */
BPRIOR_API void bp_layer_norm_backward(bp_real *dx, bp_real *dgain, bp_real *dshift, const bp_real *dy, const bp_real *saved,
                                       const bp_real *x, const bp_real *gain, size_t n, size_t dim);

/** @brief The dx part of bp_layer_norm_backward().
 *  @param dx    [n][dim] added to
 *  @param dy    [n][dim]
 *  @param saved [n][2] from forward
 *  @param x     [n][dim] the input of forward
 *  @param gain  [dim]
 *  @param n,dim sizes */
BPRIOR_API void bp_layer_norm_backward_input(bp_real *dx, const bp_real *dy, const bp_real *saved, const bp_real *x,
                                             const bp_real *gain, size_t n, size_t dim);

/** @brief How a network's raw output becomes the mean and standard deviation of a Gaussian.
 *
 *  For A action dimensions the network has 2A outputs: A for the mean, then A for the standard deviation. */
typedef struct bp_gaussian_head {
    double init_std; /**< Part of std above `min_std` when the raw output is 0, so std starts at init_std + min_std.
                           Unit of the action; > 0; default 0.7. Raising it: wider exploration at the start. */
    double min_std;  /**< std never falls below this. Unit of the action; >= 0; default 0.1. Raising it: exploration
                           that never dies, a bounded density, and KL terms that cannot explode; but a noisier policy. */
    bool tanh_mean;  /**< Squash the mean into (-1, 1), the range of rescaled actions; default true. The sample itself is
                           not squashed: it is clipped at the environment. */
} bp_gaussian_head;

/** @brief The reference settings: init_std 0.7, min_std 0.1, tanh_mean true. */
BPRIOR_API bp_gaussian_head bp_gaussian_head_default(void);

/** @brief Checks the ranges of a head.
 *  @param head  what to check
 *  @param error detail, or NULL
 *  @return BP_OK, or BP_ERR_ARGUMENT with the field's name in the text */
BPRIOR_API bp_status bp_gaussian_head_check(const bp_gaussian_head *head, bp_error *error);

/** @brief mean and std from a network's raw output (E35).
 *  @f[ m = \tanh(u), \qquad \sigma = \mathrm{softplus}(v)\,\frac{\sigma_{init}}{\mathrm{softplus}(0)} + \sigma_{min} @f]
 *  @param mean [n][dim] out, in [-1, 1] (any number without tanh_mean)
 *  @param std  [n][dim] out, >= min_std; positive even with min_std = 0 unless softplus underflows (raw < -87 in float)
 *  @param raw  [n][2*dim]: u, then v
 *  @param n,dim sizes
 *  @param head settings */
BPRIOR_API void bp_gaussian_head_forward(bp_real *mean, bp_real *std, const bp_real *raw, size_t n, size_t dim,
                                         const bp_gaussian_head *head);

/** @brief Derivative of bp_gaussian_head_forward(): adds to `draw` (E35).
 *  @param draw  [n][2*dim] added to
 *  @param dmean [n][dim], or NULL for zero
 *  @param dstd  [n][dim], or NULL for zero
 *  @param mean,std [n][dim] outputs of forward
 *  @param raw   [n][2*dim] input of forward
 *  @param n,dim sizes
 *  @param head  settings */
BPRIOR_API void bp_gaussian_head_backward(bp_real *draw, const bp_real *dmean, const bp_real *dstd, const bp_real *mean,
                                          const bp_real *std, const bp_real *raw, size_t n, size_t dim,
                                          const bp_gaussian_head *head);

/** @brief Length of the array in which bp_lstm_forward() keeps what bp_lstm_backward() will need.
 *
 *  The layout is, in this order,
 *
 *      before [T][B][2H]  h and c before each step, already zeroed where an episode starts
 *      act    [T][B][4H]  i, f, g, o of each step
 *      m      [T][B][H]   tanh(c) after each step
 *
 *  @param T,B,H steps, rows, units
 *  @return a count of bp_real, 7 T B H; SIZE_MAX if it overflows */
BPRIOR_API size_t bp_lstm_saved_reals(size_t T, size_t B, size_t H);

/** @brief Length of `work`, enough for eval, forward and backward, whatever the number of steps.
 *  @param B,H rows, units
 *  @return a count of bp_real; SIZE_MAX if it overflows */
BPRIOR_API size_t bp_lstm_work_reals(size_t B, size_t H);

/** @brief A long short-term memory over T steps: a layer with a state, so that what it says can depend on the past (E35).
 *
 *  B sequences (rows) run side by side. A row's state is (h, c): what the unit says, and what it remembers. With the input's
 *  part of each step, gates = x w_x + b, computed beforehand for all steps at once,
 *  @f[ (z_i, z_f, z_g, z_o) = \mathrm{gates}_t + h_{t-1} w, \quad i, f, o = \mathrm{sigm}(z_i), \mathrm{sigm}(z_f),
 *      \mathrm{sigm}(z_o), \quad g = \tanh z_g @f]
 *  @f[ c_t = f\, c_{t-1} + i\, g, \qquad h_t = o \tanh c_t @f]
 *  where sigm(z) = 1/(1 + e^-z): f says how much is kept, i how much is new, o how much is shown. The order of the gates is
 *  PyTorch's; its `weight_hh_l0` is w transposed, and its two biases are here one, inside `gates`.
 *
 *  EPISODES. Where reset[t][row] is not 0, the row's state is zeroed before step t: an episode starts there. It is zeroed, not
 *  multiplied by 0: a NaN of the last episode does not reach the next.
 *
 *  PIECES. A sequence may be cut anywhere: T steps in one call, or T calls of one step with the state handed on, give the same
 *  bits.
 *  @param c         compute context
 *  @param h         [T][B][H] out: h after each step
 *  @param state_out [B][2H] out: h, then c, of each row after the last step; NULL if nobody wants it; may be `state`
 *  @param work      [bp_lstm_work_reals(B,H)] scratch
 *  @param gates     [T][B][4H]: the input's part of i, f, g, o, each H numbers
 *  @param state     [B][2H] before the first step, or NULL for zeros
 *  @param reset     [T][B], not 0: an episode starts with this step; or NULL: none does
 *  @param w         [H][4H] recurrent weights
 *  @param T,B,H     steps, rows, units; with T = 0 `state_out` is `state` */
BPRIOR_API void bp_lstm_eval(const bp_compute *c, bp_real *h, bp_real *state_out, bp_real *work, const bp_real *gates,
                             const bp_real *state, const bp_real *reset, const bp_real *w, size_t T, size_t B, size_t H);

/** @brief bp_lstm_eval() that keeps what backward needs; the same bits (E35).
 *  @param c     compute context
 *  @param h     [T][B][H] out
 *  @param saved [bp_lstm_saved_reals(T,B,H)] out
 *  @param work  [bp_lstm_work_reals(B,H)] scratch
 *  @param gates,state,reset,w,T,B,H as in eval */
BPRIOR_API void bp_lstm_forward(const bp_compute *c, bp_real *h, bp_real *saved, bp_real *work, const bp_real *gates,
                                const bp_real *state, const bp_real *reset, const bp_real *w, size_t T, size_t B, size_t H);

/** @brief Backpropagation through time: adds to the derivatives by the gates, the weights and the first state (E35).
 *
 *  From the last step to the first; each step hands the derivative by its state to the one before, except across the start of
 *  an episode.
 *
 *  BURN-IN. With `detach` > 0, the first `detach` steps only bring the state up to date: what they computed counts as constant.
 *  Their rows of `dgates` and `dh` are neither changed nor read, `dw` is summed over the later steps (the first of them
 *  still multiplies the h that burn-in left), and `dstate` gets nothing. With detach >= T nothing happens at all.
 *  @param c      compute context
 *  @param dgates [T][B][4H] added to, or NULL
 *  @param dw     [H][4H] added to, or NULL
 *  @param dstate [B][2H] added to, or NULL: derivative by the state before the first step; 0 for rows reset at step 0
 *  @param work   [bp_lstm_work_reals(B,H)] scratch
 *  @param dh     [T][B][H] derivative of the loss by each h, as if h were not used any further
 *  @param saved  from bp_lstm_forward()
 *  @param reset,w,T,B,H as in forward
 *  @param detach steps of burn-in; 0: none */
BPRIOR_API void bp_lstm_backward(const bp_compute *c, bp_real *dgates, bp_real *dw, bp_real *dstate, bp_real *work,
                                 const bp_real *dh, const bp_real *saved, const bp_real *reset, const bp_real *w, size_t detach,
                                 size_t T, size_t B, size_t H);

/** @brief Which size a layer's initial weights are scaled by. */
typedef enum bp_fan {
    BP_FAN_IN, /**< number of inputs: keeps the size of activations constant on the way up */
    BP_FAN_OUT /**< number of outputs: keeps the size of gradients constant on the way down; the reference setting */
} bp_fan;

/** @brief Variance-scaling initialisation: independent uniform weights of variance scale / fan,
 *         that is uniform in [-limit, limit] with limit = sqrt(3 * scale / fan).
 *  @param w   [in][out] out
 *  @param rng the generator; advanced
 *  @param in,out sizes
 *  @param scale >= 0; reference setting 0.333 with BP_FAN_OUT
 *  @param fan which size to divide by */
BPRIOR_API void bp_init_variance_scaling(bp_real *w, bp_rng *rng, size_t in, size_t out, double scale, bp_fan fan);

/** @} */

/* ==========================================================================
 * 7. >>networks   Networks
 *    provides: bp_mlp_*  bp_view  bp_rnn_*  bp_fd_derivative
 *    needs: 1, 3, 4, 6        equations: E35
 * ========================================================================== */
/** @defgroup bp_networks 7. Networks
 *  @brief Multi-layer perceptrons with an optional second input that is cheap to sample, and recurrent networks.
 *
 *  **Structure and numbers are apart.** A #bp_mlp says which layers there are; it holds no weights and no pointers and
 *  can be copied freely. The weights are one plain array of bp_mlp.n_params numbers that you own, and a gradient is another
 *  of the same length. A target network, Adam's moments or an average are then just more arrays, and copying,
 *  clipping and saving are loops over one of them. Where each matrix lies in it is listed, by name, in bp_mlp.view.
 *
 *  **The network.** With z = x w_x + u w_u + b for the first layer,
 *
 *      first hidden layer:    linear -> layer norm -> tanh      (layer_norm = true, the reference agent's torso)
 *                             linear -> activation              (layer_norm = false)
 *      other hidden layers:   linear -> activation
 *      last layer:            linear
 *
 *  **Two inputs.** An action-value network Q(x,u) is asked about S sampled actions u for each state x. The product x w_x is
 *  the same for all S, so it is computed once per state: the N rows of x and the N*S rows of u go in separately, row
 *  i*S + j of u belonging to row i of x. With `extra` = 0 there is no u. The first layer's matrix has the rows of w_x
 *  first, then those of w_u: it is the matrix of an ordinary network on the concatenation [x,u], and can be exported as such.
 *
 *  **Memory of the past.** A #bp_rnn is such a network with an LSTM on top, for T steps of B sequences: x is [T][B][input]. Its
 *  state is an array of yours, [B][2*units], handed in and out; an actor keeps one row, a replayed sequence starts from a stored
 *  row or from zeros.
 *
 *  **Memory.** Nothing is allocated. `saved` carries the hidden layers from forward to backward (bp_mlp_saved_reals()),
 *  `work` is scratch (bp_mlp_work_reals()), which may be shared by all networks of a thread. Rows are processed in blocks
 *  that fit the processor's cache, so `work` stays small however large N is.
 *
 *  **Bits.** bp_mlp_eval() and bp_mlp_forward() give identical bits. Results do not depend on what was in `work`.
 *
 *  **Thread safety.** Pure functions of their arguments, given one #bp_compute and one `work` per thread.
 *  @{
 */

/** @brief Largest number of hidden layers. */
#define BP_MAX_LAYERS 8

/** @brief How to build a network. Start from bp_mlp_config_default(). */
typedef struct bp_mlp_config {
    uint32_t cookie;             /**< Set by bp_mlp_config_default(); tells a stale or zeroed struct. */
    size_t input;                /**< Numbers in a row of x; >= 1. Required. */
    size_t extra;                /**< Numbers in a row of the second input u, e.g. the action; default 0: there is none. */
    size_t output;               /**< Numbers in a row of the result; >= 1. Required. */
    size_t hidden_layers;        /**< 0 (an affine map) to BP_MAX_LAYERS; default 2. */
    size_t width[BP_MAX_LAYERS]; /**< Units of each hidden layer, >= 1 where used; default 64. Raising it: more the network
                                      can express; time grows with the product of neighbouring widths. */
    bp_activation activation;    /**< Of the hidden layers (with layer_norm: all but the first); default ELU. */
    bool layer_norm;             /**< First hidden layer is linear -> layer norm -> tanh, which makes learning indifferent to
                                      the scale of the observations; default true. No effect without hidden layers. */
    double init_scale;           /**< Variance-scaling factor of the initial weights, by fan-out; >= 0; default 0.333. */
    double output_scale;         /**< Multiplies the last layer's initial weights; >= 0; default 1. With 1e-4 the network starts
                                      at (almost) 0 for every input: a policy head that has not made up its mind. */
} bp_mlp_config;

/** @brief The default configuration; call it as bp_mlp_config_default(). */
BPRIOR_API bp_mlp_config bp_mlp_config_make(uint32_t cookie, size_t input, size_t output);

/** @brief A configuration with every field at its default, for the two sizes that have none. */
#define bp_mlp_config_default(input, output) bp_mlp_config_make(BP_COOKIE(bp_mlp_config), input, output)

/** @brief A named matrix inside a parameter vector. */
typedef struct bp_view {
    char name[32]; /**< Layer and part: "0/w", "0/b", "0/gain", "0/shift", "1/w", ... */
    size_t offset; /**< Index of its first number in the vector. */
    size_t rows;   /**< Rows; 1 for a vector such as a bias. */
    size_t cols;   /**< Columns; the matrix is row-major, without gaps. */
} bp_view;

/** @brief One layer's sizes, and where its parts start in the parameter vector. */
typedef struct bp_mlp_layer {
    size_t in, out;     /**< The layer's matrix is [in][out]; for the first layer in = input + extra. */
    size_t w, b;        /**< Offsets of the matrix and of the bias [out]. */
    size_t gain, shift; /**< Offsets of the layer norm's [out] each; meaningful for the first layer with layer_norm only. */
} bp_mlp_layer;

/** @brief The structure of a network: plain data without pointers. Read freely; filled by bp_mlp_init(). */
typedef struct bp_mlp {
    bp_mlp_config config;                  /**< As given. */
    size_t n_params;                       /**< Length of the parameter vector. */
    size_t n_layers;                       /**< Linear layers: hidden_layers + 1. */
    bp_mlp_layer layer[BP_MAX_LAYERS + 1]; /**< The layers from input to output. */
    size_t widest;                         /**< Largest hidden width; 0 without hidden layers. */
    size_t n_views;                        /**< Number of views. */
    bp_view view[4 * (BP_MAX_LAYERS + 1)]; /**< The parts of the parameter vector, in order; together they cover it. */
} bp_mlp;

/** @brief Works out the structure.
 *  @param mlp    out
 *  @param config from bp_mlp_config_default(), then adjusted
 *  @param error  detail, or NULL
 *  @return BP_OK; BP_ERR_ARGUMENT for a NULL or a field out of range (the text names it); BP_ERR_CONFIG or BP_ERR_ABI for a
 *          config that was not made by bp_mlp_config_default(); BP_ERR_SIZE if the parameters cannot be counted */
BPRIOR_API bp_status bp_mlp_init(bp_mlp *mlp, const bp_mlp_config *config, bp_error *error);

/** @brief Draws initial parameters: weights uniform with variance init_scale / fan-out, those of the last layer times
 *         output_scale; biases and shifts 0, gains 1.
 *  @param params [n_params] out
 *  @param mlp    structure
 *  @param rng    the generator; advanced */
BPRIOR_API void bp_mlp_init_params(bp_real *params, const bp_mlp *mlp, bp_rng *rng);

/** @brief Finds a view by name.
 *  @param mlp  structure
 *  @param name e.g. "1/w"
 *  @return the view, or NULL if there is none of that name */
BPRIOR_API const bp_view *bp_mlp_find_view(const bp_mlp *mlp, const char *name);

/** @brief Length of `saved` for n rows of x with s samples each.
 *
 *  With R = n*s rows and hidden widths H0, H1, ... the layout is, in this order,
 *
 *      z0    [R][H0]   input of the layer norm          (with layer_norm only)
 *      stats [R][2]    mean and 1/deviation of its rows (with layer_norm only)
 *      y0    [R][H0]   output of the first hidden layer
 *      y1    [R][H1]   output of the second, and so on
 *
 *  @param mlp structure
 *  @param n   rows of x
 *  @param s   samples per row, >= 1
 *  @return a count of bp_real; 0 without hidden layers; SIZE_MAX if it overflows */
BPRIOR_API size_t bp_mlp_saved_reals(const bp_mlp *mlp, size_t n, size_t s);

/** @brief Length of `work`, enough for eval, forward and both backward functions. Grows with n and s up to a block's size.
 *  @param mlp structure
 *  @param n   rows of x
 *  @param s   samples per row, >= 1
 *  @return a count of bp_real; SIZE_MAX if it overflows */
BPRIOR_API size_t bp_mlp_work_reals(const bp_mlp *mlp, size_t n, size_t s);

/** @brief The network's output, nothing saved.
 *  @param c      compute context
 *  @param out    [n*s][output] out
 *  @param work   [bp_mlp_work_reals(n,s)] scratch
 *  @param x      [n][input]
 *  @param u      [n*s][extra]; NULL when extra is 0
 *  @param params [n_params]
 *  @param mlp    structure
 *  @param n      rows of x; 0 does nothing
 *  @param s      samples per row of x, >= 1; 1 for an ordinary network */
BPRIOR_API void bp_mlp_eval(const bp_compute *c, bp_real *out, bp_real *work, const bp_real *x, const bp_real *u,
                            const bp_real *params, const bp_mlp *mlp, size_t n, size_t s);

/** @brief The network's output, keeping what backward needs. With s > 1 it needs scratch of its own, which it takes from the
 *         end of `saved`: bp_mlp_saved_reals() counts it.
 *  @param c      compute context
 *  @param out    [n*s][output] out
 *  @param saved  [bp_mlp_saved_reals(n,s)] out
 *  @param x      [n][input]
 *  @param u      [n*s][extra]; NULL when extra is 0
 *  @param params [n_params]
 *  @param mlp    structure
 *  @param n,s    rows of x, samples per row */
BPRIOR_API void bp_mlp_forward(const bp_compute *c, bp_real *out, bp_real *saved, const bp_real *x, const bp_real *u,
                               const bp_real *params, const bp_mlp *mlp, size_t n, size_t s);

/** @brief Backpropagation: adds to the gradient of the parameters and, if wanted, of both inputs (E35).
 *  @param c       compute context
 *  @param dparams [n_params] added to
 *  @param dx      [n][input] added to, or NULL; summed over the s samples of a row
 *  @param du      [n*s][extra] added to, or NULL
 *  @param saved   from bp_mlp_forward() with the same x, u, params, n, s
 *  @param work    [bp_mlp_work_reals(n,s)] scratch
 *  @param dout    [n*s][output] derivative of the loss by the output
 *  @param x,u,params,mlp,n,s as in forward */
BPRIOR_API void bp_mlp_backward(const bp_compute *c, bp_real *dparams, bp_real *dx, bp_real *du, const bp_real *saved,
                                bp_real *work, const bp_real *dout, const bp_real *x, const bp_real *u, const bp_real *params,
                                const bp_mlp *mlp, size_t n, size_t s);

/** @brief The dx and du part of bp_mlp_backward(), same bits, for half the work: dQ/du of the policy gradient (E18).
 *  @param c       compute context
 *  @param dx      [n][input] added to, or NULL
 *  @param du      [n*s][extra] added to, or NULL
 *  @param saved   from bp_mlp_forward()
 *  @param work    [bp_mlp_work_reals(n,s)] scratch
 *  @param dout    [n*s][output]
 *  @param x,u,params,mlp,n,s as in forward */
BPRIOR_API void bp_mlp_backward_input(const bp_compute *c, bp_real *dx, bp_real *du, const bp_real *saved, bp_real *work,
                                      const bp_real *dout, const bp_real *x, const bp_real *u, const bp_real *params,
                                      const bp_mlp *mlp, size_t n, size_t s);

/** @brief Multiply-adds of one forward pass, counting the x part of the first layer once per row of x. Backward to
 *         parameters and inputs costs about twice as much, to the inputs alone about once.
 *  @param mlp structure
 *  @param n,s rows of x, samples per row */
BPRIOR_API size_t bp_mlp_macs(const bp_mlp *mlp, size_t n, size_t s);

/** @brief The structure of a recurrent network: an MLP, then an LSTM on what it says. Plain data without pointers. Read freely;
 *         filled by bp_rnn_init().
 *
 *  The MLP's last layer is linear and has 4*units outputs: it is the LSTM's input part x w_x + b (see bp_lstm_eval()). It looks
 *  at each observation by itself, so all T*B rows go through it as one batch; only the product with h goes step by step. */
typedef struct bp_rnn {
    bp_mlp torso;                              /**< The MLP; config.output is 4 * units. */
    size_t units;                              /**< H: numbers in a row of the result; a row of the state has 2 * units. */
    size_t w;                                  /**< Offset of the recurrent weights [H][4H] in the parameter vector. */
    size_t n_params;                           /**< Length of the parameter vector: the torso's, then the recurrent weights. */
    size_t n_views;                            /**< Number of views. */
    bp_view view[4 * (BP_MAX_LAYERS + 1) + 1]; /**< The parts, in order: the torso's, then "h/w". */
} bp_rnn;

/** @brief Works out the structure of a recurrent network.
 *  @param rnn   out
 *  @param torso from bp_mlp_config_default(), then adjusted. `output` does not matter: 4 * units is used. `extra` is allowed.
 *               `hidden_layers` = 0 feeds the input to the LSTM as it is.
 *  @param units H, >= 1
 *  @param error detail, or NULL
 *  @return as bp_mlp_init(); also BP_ERR_ARGUMENT for units = 0 and BP_ERR_SIZE for more than memory can hold */
BPRIOR_API bp_status bp_rnn_init(bp_rnn *rnn, const bp_mlp_config *torso, size_t units, bp_error *error);

/** @brief Draws initial parameters.
 *
 *  The torso is drawn by bp_mlp_init_params(), with two exceptions in its last layer. Each gate counts as a layer of `units`
 *  outputs, so the fan-out is `units` rather than 4 * units. And the bias of the forget gate is 1: a new network keeps
 *  sigm(1) = 73 % of its memory from step to step rather than half, so that derivatives reach far enough back for it to
 *  learn to keep more (Jozefowicz et al. 2015).
 *
 *  The recurrent weights are uniform with variance init_scale / units: seen by one gate, units is both fan-in and fan-out. With
 *  init_scale 0.333 that is PyTorch's range of 1/sqrt(units). As |h| < 1, what h adds to a gate then has variance below
 *  init_scale: the state starts as an influence, not as an oscillation.
 *  @param params [n_params] out
 *  @param rnn    structure
 *  @param rng    the generator; advanced */
BPRIOR_API void bp_rnn_init_params(bp_real *params, const bp_rnn *rnn, bp_rng *rng);

/** @brief Length of `saved` for T steps of B rows: the torso's (bp_mlp_saved_reals() for T*B rows), then the LSTM's
 *         (bp_lstm_saved_reals()).
 *  @param rnn structure
 *  @param T,B steps, rows
 *  @return a count of bp_real; SIZE_MAX if it overflows */
BPRIOR_API size_t bp_rnn_saved_reals(const bp_rnn *rnn, size_t T, size_t B);

/** @brief Length of `work`, enough for eval, forward and backward: the gates [T][B][4H], and scratch.
 *  @param rnn structure
 *  @param T,B steps, rows
 *  @return a count of bp_real; SIZE_MAX if it overflows */
BPRIOR_API size_t bp_rnn_work_reals(const bp_rnn *rnn, size_t T, size_t B);

/** @brief The network's output for T steps of B rows, nothing saved (E35).
 *
 *  Identical bits as bp_rnn_forward(). Cutting a sequence into several calls, with the state handed on, changes the number of
 *  rows in the torso's products, and with it perhaps their last bits; the reference kernel gives the same bits.
 *  @param c         compute context
 *  @param h         [T][B][units] out
 *  @param state_out [B][2*units] out: state after the last step, h then c; or NULL; may be `state`
 *  @param work      [bp_rnn_work_reals(T,B)] scratch
 *  @param x         [T][B][input]
 *  @param u         [T][B][extra]; NULL when extra is 0
 *  @param state     [B][2*units] before the first step, or NULL for zeros
 *  @param reset     [T][B], not 0: an episode starts with this step, from a zero state; or NULL: none does
 *  @param params    [n_params]
 *  @param rnn       structure
 *  @param T,B       steps, rows */
BPRIOR_API void bp_rnn_eval(const bp_compute *c, bp_real *h, bp_real *state_out, bp_real *work, const bp_real *x,
                            const bp_real *u, const bp_real *state, const bp_real *reset, const bp_real *params,
                            const bp_rnn *rnn, size_t T, size_t B);

/** @brief The network's output, keeping what backward needs (E35).
 *  @param c     compute context
 *  @param h     [T][B][units] out
 *  @param saved [bp_rnn_saved_reals(T,B)] out
 *  @param work  [bp_rnn_work_reals(T,B)] scratch
 *  @param x,u,state,reset,params,rnn,T,B as in eval */
BPRIOR_API void bp_rnn_forward(const bp_compute *c, bp_real *h, bp_real *saved, bp_real *work, const bp_real *x, const bp_real *u,
                               const bp_real *state, const bp_real *reset, const bp_real *params, const bp_rnn *rnn, size_t T,
                               size_t B);

/** @brief Backpropagation through time, and on through the torso: adds to the gradients (E35).
 *
 *  With `detach` > 0 the first `detach` steps are burn-in (see bp_lstm_backward()): only later steps count, as if the state
 *  at their start were given. Nothing is computed for the steps before, nor their rows of dx and du touched.
 *  @param c       compute context
 *  @param dparams [n_params] added to, or NULL for the derivatives by the inputs alone
 *  @param dx      [T][B][input] added to, or NULL
 *  @param du      [T][B][extra] added to, or NULL
 *  @param saved   from bp_rnn_forward()
 *  @param work    [bp_rnn_work_reals(T,B)] scratch
 *  @param dh      [T][B][units] derivative of the loss by each h, as if h were not used any further
 *  @param x,u,reset,params,rnn,T,B as in forward
 *  @param detach  steps of burn-in; 0: none */
BPRIOR_API void bp_rnn_backward(const bp_compute *c, bp_real *dparams, bp_real *dx, bp_real *du, const bp_real *saved,
                                bp_real *work, const bp_real *dh, const bp_real *x, const bp_real *u, const bp_real *reset,
                                const bp_real *params, const bp_rnn *rnn, size_t detach, size_t T, size_t B);

/** @brief Multiply-adds of one forward pass; backward costs about twice as much.
 *  @param rnn structure
 *  @param T,B steps, rows */
BPRIOR_API size_t bp_rnn_macs(const bp_rnn *rnn, size_t T, size_t B);

/** @brief Central difference: how fast f changes with one number, without any calculus. For checking derivatives.
 *
 *  (f(p + step) - f(p - step)) / (2 step) is wrong by about step^2/6 times the third derivative, plus the rounding of f
 *  divided by step; combining two step sizes as (4 D(step/2) - D(step)) / 3 cancels the step^2 term (Richardson).
 *  A useful step is 1e-3 in double and 1e-2 in float, for quantities of size 1.
 *  @param f     the function; called twice with `ctx`, and reads *param
 *  @param ctx   passed to f
 *  @param param the number that is varied; restored before return
 *  @param step  > 0
 *  @return the difference quotient, using the step that was really taken after rounding */
BPRIOR_API double bp_fd_derivative(double (*f)(void *ctx), void *ctx, bp_real *param, double step);

/** @} */

/* ==========================================================================
 * 8. >>optimiser   Optimiser
 *    provides: bp_adam_*  bp_clip_scale  bp_global_norm  bp_schedule_*  bp_dual_*  bp_polyak
 *    needs: 1, 4        equations: E36
 * ========================================================================== */
/** @defgroup bp_optimiser 8. Optimiser
 *  @brief Turning gradients into better parameters: Adam (E36), clipping, schedules, adapted multipliers, target averages.
 *
 *  Everything here works on plain parameter vectors (chapter 7) and keeps its state in arrays or small structs that you
 *  own and can copy or save.
 *
 *  **One step**, for a gradient `grad` of a loss to be made smaller:
 *
 *      double norm = bp_global_norm(c, grad, n);                        // NaN or infinite? then skip this step and report
 *      bp_adam_step(params, m, v, grad, n, &adam, ++step, 1.0, bp_clip_scale(norm, adam.clip_norm));
 *
 *  **Thread safety.** Functions touch only what they are given.
 *  @{
 */

/** @brief Settings of Adam (Kingma and Ba 2015). Start from bp_adam_config_default(). */
typedef struct bp_adam_config {
    uint32_t cookie;  /**< Set by bp_adam_config_default(). */
    double lr;        /**< Learning rate: roughly how far each parameter moves per step; > 0; default 1e-4. Raising it: faster,
                           until the loss starts to jump. */
    double beta1;     /**< Memory of the gradient average, about 1/(1-beta1) steps; in [0,1); default 0.9. */
    double beta2;     /**< Memory of the squared-gradient average; in [0,1); default 0.999. */
    double epsilon;   /**< Added to the root of the squared average, unit of the gradient; > 0; default 1e-8. Raising it: smaller
                           steps for parameters whose gradient is tiny. */
    double clip_norm; /**< Largest global norm of the gradient, for bp_clip_scale(); <= 0 is off; default 0. */
} bp_adam_config;

/** @brief The default configuration; call it as bp_adam_config_default(). */
BPRIOR_API bp_adam_config bp_adam_config_make(uint32_t cookie);

/** @brief Reference settings: lr 1e-4, beta1 0.9, beta2 0.999, epsilon 1e-8, no clipping. */
#define bp_adam_config_default() bp_adam_config_make(BP_COOKIE(bp_adam_config))

/** @brief Checks ranges.
 *  @param config what to check
 *  @param error  detail, or NULL
 *  @return BP_OK, BP_ERR_CONFIG or BP_ERR_ABI (not made by the default function), BP_ERR_ARGUMENT (the text names the field) */
BPRIOR_API bp_status bp_adam_config_check(const bp_adam_config *config, bp_error *error);

/** @brief One step of Adam with bias correction (E36).
 *  @param params [n] updated
 *  @param m      [n] running average of the gradient, updated; zero before step 1
 *  @param v      [n] running average of its square, updated; zero before step 1
 *  @param grad   [n] gradient of the loss to be made smaller
 *  @param n      length
 *  @param config settings (clip_norm is not looked at: pass its effect as grad_scale)
 *  @param step   1 for the first step, then 2, 3, ...; 0 is taken as 1
 *  @param lr_scale   multiplies lr, e.g. from a bp_schedule; 1 for none
 *  @param grad_scale multiplies the gradient, e.g. bp_clip_scale() or 1/number of shards; 1 for none */
BPRIOR_API void bp_adam_step(bp_real *params, bp_real *m, bp_real *v, const bp_real *grad, size_t n,
                             const bp_adam_config *config, uint64_t step, double lr_scale, double grad_scale);

/** @brief Euclidean norm of a whole gradient.
 *  @param c    compute context
 *  @param grad [n]
 *  @param n    length
 *  @return the norm, summed in double precision in a fixed order; NaN or infinite if any element is */
BPRIOR_API double bp_global_norm(const bp_compute *c, const bp_real *grad, size_t n);

/** @brief Factor that brings a gradient of the given norm down to max_norm, and leaves smaller ones alone.
 *  @param norm     from bp_global_norm()
 *  @param max_norm <= 0 is off
 *  @return in [0,1]; NaN for a NaN norm, so that a broken gradient does not pass for a clipped one */
BPRIOR_API double bp_clip_scale(double norm, double max_norm);

/** @brief Shape of a bp_schedule. */
typedef enum bp_schedule_kind {
    BP_SCHEDULE_CONSTANT,    /**< start, for ever */
    BP_SCHEDULE_LINEAR,      /**< straight line from start to end */
    BP_SCHEDULE_EXPONENTIAL, /**< equal ratios from start to end; both must be > 0 */
    BP_SCHEDULE_COSINE       /**< half a cosine: flat at both ends */
} bp_schedule_kind;

/** @brief A number that changes with the step: from `start` at step 0 to `end` at step `steps`, constant afterwards. */
typedef struct bp_schedule {
    bp_schedule_kind kind; /**< Shape. */
    double start;          /**< Value at step 0. */
    double end;            /**< Value from step `steps` on; unused when constant. */
    uint64_t steps;        /**< Length; 0 means `end` at once; unused when constant. */
} bp_schedule;

/** @brief A schedule that is always x. */
BPRIOR_API bp_schedule bp_schedule_constant(double x);

/** @brief Makes a schedule.
 *  @param kind  shape
 *  @param start,end values at step 0 and at step `steps`
 *  @param steps length */
BPRIOR_API bp_schedule bp_schedule_make(bp_schedule_kind kind, double start, double end, uint64_t steps);

/** @brief Checks a schedule: a known kind, finite values, positive ones if exponential.
 *  @param schedule what to check
 *  @param error    detail, or NULL
 *  @return BP_OK or BP_ERR_ARGUMENT */
BPRIOR_API bp_status bp_schedule_check(const bp_schedule *schedule, bp_error *error);

/** @brief Value of a schedule at a step. */
BPRIOR_API double bp_schedule_at(const bp_schedule *schedule, uint64_t step);

/** @brief A positive weight that adapts itself until a measured quantity stays below a target, e.g. the weight alpha of the
 *         KL term so that the KL is `target` nats, or (with negated signs) an entropy cost. */
typedef struct bp_dual {
    double log_value; /**< log of the weight: positive whatever is added to it. */
    double lr;        /**< Relative change of the weight per step and per unit of violation; > 0. */
    double target;    /**< Constraint: measured <= target. */
    double min, max;  /**< The weight is kept in [min, max], 0 < min <= max. */
} bp_dual;

/** @brief Makes a multiplier.
 *  @param value  initial weight, > 0
 *  @param lr     see bp_dual
 *  @param target see bp_dual
 *  @param min,max see bp_dual */
BPRIOR_API bp_dual bp_dual_make(double value, double lr, double target, double min, double max);

/** @brief Checks ranges.
 *  @param dual  what to check
 *  @param error detail, or NULL
 *  @return BP_OK or BP_ERR_ARGUMENT */
BPRIOR_API bp_status bp_dual_check(const bp_dual *dual, bp_error *error);

/** @brief Current weight. */
BPRIOR_API double bp_dual_value(const bp_dual *dual);

/** @brief One step: raises the weight while measured > target, lowers it while measured < target. A measurement that is NaN or
 *         infinite is ignored.
 *  @param dual     updated
 *  @param measured this step's value of the constrained quantity */
BPRIOR_API void bp_dual_update(bp_dual *dual, double measured);

/** @brief Moves a target network towards the online one: target += tau (online - target). tau = 1 copies exactly.
 *  @param target [n] updated
 *  @param online [n]
 *  @param n      length
 *  @param tau    in [0,1] */
BPRIOR_API void bp_polyak(bp_real *target, const bp_real *online, size_t n, double tau);

/** @} */

/* ==========================================================================
 * 9. >>environments   MDP types and environments
 *    provides: bp_spec_* bp_step bp_env_* bp_normaliser_* bp_pendulum_* bp_pointmass_*
 *    needs: 1, 2, 3        equations: E1 E2
 * ========================================================================== */
/** @defgroup bp_environments 9. MDP types and environments
 *
 * An environment is a struct of five functions and a ::bp_spec that says what goes in and out. Writing
 * one takes four of them (save and load may be NULL):
 *
 *     reset(self, seed, observation)          start an episode
 *     step(self, action, observation, out)    one step: reward, discount, last
 *     save / load                             state of the running episode as bytes
 *     close(self)                             free everything
 *
 * **Reward, discount, last.** Two things end an episode and they must not be confused:
 *
 *     what happened                          last     discount
 *     the world ended (fell over, goal)      true     0          nothing can be earned any more
 *     we stopped looking (time limit)        true     1          the value goes on: bootstrap
 *     neither                                false    1
 *
 * The return is then \f$R=\sum_t \left(\prod_{i<t}\gamma d_i\right) r_t\f$ (E2 with the environment's own discounts d).
 * Treating a time limit as a termination is among the commonest silent errors in reinforcement learning.
 *
 * **Observations are named fields**, one after the other in one array. Networks list by name what they
 * see, which is all there is to information asymmetry (chapter 13).
 *
 * **Repeatable.** After reset(seed) the whole episode is a function of the seed and the actions. No
 * environment reads a clock or a global generator. bp_env_check() tests yours for this and more: call it
 * first, before you train anything.
 *
 * **A complete environment** of a drifting point, to start from:
 * @code
 * typedef struct { bp_rng rng; double x; } drift;
 * static bp_status drift_reset(void *p, uint64_t seed, bp_real *obs) {
 *     drift *d = (drift *)p;
 *     d->rng = bp_rng_make(seed, 0); d->x = 0; obs[0] = 0;
 *     return BP_OK;
 * }
 * static bp_status drift_step(void *p, const bp_real *action, bp_real *obs, bp_step *out) {
 *     drift *d = (drift *)p;
 *     d->x += 0.1 * (double)action[0] + 0.01 * (double)bp_rng_normal(&d->rng);
 *     obs[0] = (bp_real)d->x;
 *     out->reward = (bp_real)(-d->x * d->x); out->discount = 1; out->last = false;
 *     return BP_OK;
 * }
 * static void drift_close(void *p) { (void)p; }
 * ...
 *     static drift self; bp_env env; bp_error error;
 *     memset(&env, 0, sizeof env);
 *     env.self = &self; env.reset = drift_reset; env.step = drift_step; env.close = drift_close;
 *     bp_spec_begin(&env.spec, "drift");
 *     bp_spec_add_field(&env.spec, "position", 1, &error);
 *     bp_spec_actions_continuous(&env.spec, 1, -1, 1, &error);
 *     bp_env_time_limit(&env, 200, NULL, &error);          // episodes need an end
 *     if (bp_env_check(&env, 1, 1000, &error)) puts(error.text);
 * @endcode
 * @{ */

#define BP_MAX_FIELDS 32 /**< most fields in one observation */
#define BP_MAX_ACTION 64 /**< most numbers in one action */
#define BP_NAME 32       /**< longest name with its terminating NUL */

/** A named run of numbers inside an observation. */
typedef struct bp_field {
    char name[BP_NAME]; /**< e.g. "position"; letters, digits, and _ . - / only */
    size_t offset;      /**< first number, counted from the start of the observation */
    size_t size;        /**< how many numbers, at least 1 */
} bp_field;

/** What an action is. */
typedef enum bp_action_kind {
    BP_ACTION_CONTINUOUS = 0, /**< action_size real numbers in a box */
    BP_ACTION_DISCRETE        /**< one number: the index 0 .. n_choices-1 of a choice */
} bp_action_kind;

/** The contract between environment and agent. Build it with bp_spec_begin() and its friends. */
typedef struct bp_spec {
    size_t n_fields;                   /**< how many of `field` are in use */
    bp_field field[BP_MAX_FIELDS];     /**< in the order they were added, no gaps */
    size_t observation_size;           /**< O: sum of the fields' sizes */
    bp_action_kind action_kind;        /**< continuous or discrete */
    size_t action_size;                /**< numbers in an action array: A, or 1 if discrete */
    size_t n_choices;                  /**< K if discrete, else 0 */
    double action_low[BP_MAX_ACTION];  /**< lower bounds (continuous), may be -infinity */
    double action_high[BP_MAX_ACTION]; /**< upper bounds (continuous), may be +infinity */
    char name[BP_NAME];                /**< of the environment; not part of the contract */
} bp_spec;

/** Start an empty spec. Names longer than BP_NAME-1 are cut (the name is only for people). */
BPRIOR_API void bp_spec_begin(bp_spec *spec, const char *name);
/** Append a field after the others. @return BP_ERR_ARGUMENT (empty, long, odd or repeated name; size 0) or
 *  BP_ERR_SIZE (more than BP_MAX_FIELDS). */
BPRIOR_API bp_status bp_spec_add_field(bp_spec *spec, const char *name, size_t size, bp_error *error);
/** Actions are `size` real numbers, all in [low, high]. Edit action_low/high afterwards if they differ. */
BPRIOR_API bp_status bp_spec_actions_continuous(bp_spec *spec, size_t size, double low, double high,
                                                bp_error *error);
/** Actions are one of n choices, n >= 2 is usual, n >= 1 allowed. */
BPRIOR_API bp_status bp_spec_actions_discrete(bp_spec *spec, size_t n, bp_error *error);
/** Is the spec whole? @return BP_ERR_ARGUMENT with a text that names the entry. */
BPRIOR_API bp_status bp_spec_check(const bp_spec *spec, bp_error *error);
/** Find a field by name; NULL if there is none. */
BPRIOR_API const bp_field *bp_spec_find(const bp_spec *spec, const char *name);
/** Same fields, same actions, same bounds? The environment's name does not count: a policy trained in a
 *  simulator called "sim" fits a robot called "robot" if the contract is the same. */
BPRIOR_API bool bp_spec_equal(const bp_spec *a, const bp_spec *b);
/** 64-bit fingerprint of what bp_spec_equal() compares; the same on every platform. */
BPRIOR_API uint64_t bp_spec_hash(const bp_spec *spec);
/** May this action [action_size] be given to step()? Continuous: all finite (outside the box is fine:
 *  environments clip). Discrete: an integer in 0 .. n_choices-1. */
BPRIOR_API bool bp_spec_action_ok(const bp_spec *spec, const bp_real *action);

/** What one step returns beside the observation. See the table at the top of the chapter. */
typedef struct bp_step {
    bp_real reward;   /**< r_t */
    bp_real discount; /**< in [0,1]: 0 = terminated, 1 = goes on (also at a time limit) */
    bool last;        /**< the episode is over: call reset() next */
} bp_step;

/** An environment: functions and the contract. Copying the struct copies the handle, not the world.
 *  One environment belongs to one thread at a time; different ones are independent. */
typedef struct bp_env {
    void *self; /**< passed to every function */
    /** Start an episode; writes observation [O]. The same seed gives the same episode. */
    bp_status (*reset)(void *self, uint64_t seed, bp_real *observation);
    /** One step: reads action [action_size], writes observation [O] and *out.
     *  BP_ERR_ENV if the action is not acceptable (see bp_spec_action_ok()) or no episode is running. */
    bp_status (*step)(void *self, const bp_real *action, bp_real *observation, bp_step *out);
    /** Write the state of the running episode. Returns the bytes it takes; with buffer NULL only that.
     *  Returns 0 and writes nothing when capacity is too small. The bytes are for this machine.
     *  NULL if the environment cannot: a run can then not resume in the middle of an episode. */
    size_t (*save)(void *self, void *buffer, size_t capacity);
    /** Continue from saved bytes, bit for bit. BP_ERR_FORMAT if they are not a state of this environment;
     *  it is then as before. NULL together with save. */
    bp_status (*load)(void *self, const void *buffer, size_t bytes);
    /** Free everything. The struct is dead afterwards. */
    void (*close)(void *self);
    bp_spec spec; /**< the contract; does not change */
} bp_env;

/** Makes environments for a run: one for each actor, one for evaluation. */
typedef struct bp_env_maker {
    /** Build environment number `index` into *out. May be called from one thread at a time. */
    bp_status (*make)(void *ctx, size_t index, bp_env *out, bp_error *error);
    void *ctx; /**< yours */
} bp_env_maker;

/** Close an environment and zero the struct; fine on NULL and on a zeroed one. */
BPRIOR_API void bp_env_close(bp_env *env);

/** Examine an environment: call this before training in your own one. Plays `steps` random actions and
 *  verifies, in this order: functions and spec are whole; reset and step fill the whole observation, write
 *  nothing past its end, leave the action alone and give finite numbers; discounts are in [0,1], and below
 *  1 only where allowed; the same seed gives the same episodes; save/load continue bit for bit (if
 *  present). Stops at the first flaw and names it: which function, which step, which field.
 *  @return the environment's own status if one of its functions failed, BP_ERR_ARGUMENT for a bad spec,
 *  BP_ERR_NONFINITE for a number that is not finite, BP_ERR_ENV for everything else. Uses malloc. */
BPRIOR_API bp_status bp_env_check(bp_env *env, uint64_t seed, size_t steps, bp_error *error);

/* ---- wrappers ------------------------------------------------------------
 * Each takes *io, replaces it by a wrapped environment that owns the old one, and leaves *io untouched
 * when it fails. Closing the wrapper closes what is inside. save/load hold the wrapper's own state and
 * that of the inner environment; they are NULL if the inner ones are. allocator NULL: malloc. */

/** Actions become [-1,1]^A, clipped there, then stretched to the inner box:
 *  a_inner = low + (a+1)/2 (high-low). Discrete environments are left as they are.
 *  @return BP_ERR_ARGUMENT if a bound is infinite. */
BPRIOR_API bp_status bp_env_rescale_actions(bp_env *io, const bp_allocator *allocator, bp_error *error);
/** Every action is played k times (stops at `last`). Rewards are *summed, not discounted*; discounts are
 *  multiplied. With k > 1 one agent step is k environment steps: choose gamma for agent steps. */
BPRIOR_API bp_status bp_env_repeat(bp_env *io, size_t k, const bp_allocator *allocator, bp_error *error);
/** End the episode after `steps` steps: last = true, discount as the environment gave it (1 unless it
 *  terminated in that very step). */
BPRIOR_API bp_status bp_env_time_limit(bp_env *io, size_t steps, const bp_allocator *allocator, bp_error *error);

/** Running mean and variance of each entry of an observation, over memory of the caller's.
 *
 * The complete state is one block of doubles (`state`, n_state of them): save that, load that. Variance is
 * the population one, m2 / count. One thread at a time. */
typedef struct bp_normaliser {
    size_t size;     /**< O: entries */
    size_t n_state;  /**< 2 + 3 O */
    double *state;   /**< [n_state]: count, skipped, mean, m2, exempt, back to back */
    double *count;   /**< = state: finite rows seen */
    double *skipped; /**< = state + 1: rows left out because they held a number that is not finite */
    double *mean;    /**< [O] */
    double *m2;      /**< [O] sum of squared deviations from the mean */
    double *exempt;  /**< [O] 1: pass this entry unchanged, see bp_normaliser_exempt() */
    double clip;     /**< outputs are clipped to [-clip, clip]; default 10. Change it freely */
    double epsilon;  /**< added to the variance; default 1e-8 */
    bp_owner owner;  /**< where the block came from */
} bp_normaliser;

/** Bytes that bp_normaliser_init() needs for `size` entries. BP_ERR_SIZE if that overflows, BP_ERR_ARGUMENT if 0. */
BPRIOR_API bp_status bp_normaliser_size(size_t size, size_t *bytes, bp_error *error);
/** Place a fresh normaliser in the caller's memory (aligned for double). */
BPRIOR_API bp_status bp_normaliser_init(bp_normaliser *n, size_t size, void *memory, size_t bytes, bp_error *error);
/** Allocate a fresh normaliser (allocator NULL: malloc). */
BPRIOR_API bp_status bp_normaliser_create(bp_normaliser *n, size_t size, const bp_allocator *allocator, bp_error *error);
/** Free what create allocated and zero the struct; fine on a zeroed one. */
BPRIOR_API void bp_normaliser_destroy(bp_normaliser *n);
/** Entries [offset, offset+length) pass unchanged, neither shifted nor clipped: one-hot task numbers, for example.
 *  Out of range: ignored. */
BPRIOR_API void bp_normaliser_exempt(bp_normaliser *n, size_t offset, size_t length);
/** Take in observation [rows][O]. Rows that hold a number that is not finite are counted in `skipped` and
 *  otherwise ignored: one bad reading must not poison the mean for ever. */
BPRIOR_API void bp_normaliser_update(bp_normaliser *n, const bp_real *observation, size_t rows);
/** out [rows][O] = clip((x - mean) / sqrt(variance + epsilon)). May run in place (out == observation).
 *  An entry that never changes (variance <= 1e-12 mean^2, or 0) gives x - mean: dividing by a variance
 *  that is rounding noise would blow the first real change up by many orders of magnitude. Before any
 *  update mean and variance are 0, so x is only clipped. NaN stays NaN. */
BPRIOR_API void bp_normaliser_apply(bp_real *out, const bp_normaliser *n, const bp_real *observation, size_t rows);

/** Observations pass through `normaliser`, which stays the caller's, must outlive the wrapper and may be
 *  shared by environments of one thread. update = true: every raw observation is taken in first (training); false:
 *  it is only applied (evaluation, deployment). The normaliser's own state is saved by whoever owns it,
 *  not by this wrapper's save(). With update an episode depends on what was seen before it, so
 *  bp_env_check() refuses such an environment: check it before wrapping.
 *  @return BP_ERR_MISMATCH if sizes differ. */
BPRIOR_API bp_status bp_env_normalise(bp_env *io, bp_normaliser *normaliser, bool update,
                                      const bp_allocator *allocator, bp_error *error);

/* ---- built-in environments ----------------------------------------------- */

/** The pendulum of Gymnasium's Pendulum-v1, number for number.
 *
 * State (th, thdot); th = 0 is upright. With u the action clipped to [-max_torque, max_torque]:
 *
 *     reward  = -( angle_normalize(th)^2 + .1 thdot^2 + .001 u^2 )       of the state *before* the step
 *     thdot' = clip( thdot + (3 g / (2 l) sin th + 3 / (m l^2) u) dt, +-max_speed )
 *     th'    = th + thdot' dt
 *
 * Fields "angle" = (cos th, sin th) and "velocity" = thdot. Reset: th ~ U(-pi, pi), thdot ~ U(-1, 1). Never
 * terminates; `steps` steps are the time limit (last, discount 1). Needs sin and cos of the platform's libm,
 * so two platforms may differ in the last bit. */
typedef struct bp_pendulum_config {
    uint32_t cookie;   /**< set by the default function */
    size_t steps;      /**< time limit, >= 1 (default 200) */
    double dt;         /**< seconds per step, > 0 (default .05) */
    double gravity;    /**< m/s^2 (default 10) */
    double mass;       /**< kg, > 0 (default 1) */
    double length;     /**< m, > 0 (default 1) */
    double max_torque; /**< Nm, > 0: the action box (default 2) */
    double max_speed;  /**< rad/s, > 0 (default 8) */
} bp_pendulum_config;
/** @internal */
BPRIOR_API bp_pendulum_config bp_pendulum_config_make(uint32_t cookie);
/** Pendulum-v1. */
#define bp_pendulum_config_default() bp_pendulum_config_make(BP_COOKIE(bp_pendulum_config))
/** Make a pendulum. @param config NULL: the defaults. @return BP_ERR_CONFIG / BP_ERR_ABI / BP_ERR_ARGUMENT (the text
 *  names the field) / BP_ERR_MEMORY. */
BPRIOR_API bp_status bp_pendulum_env(bp_env *out, const bp_pendulum_config *config, const bp_allocator *allocator,
                                     bp_error *error);
/** A maker of pendulums. @param config NULL: the defaults; else it must outlive the maker. */
BPRIOR_API bp_env_maker bp_pendulum_maker(const bp_pendulum_config *config);

/** A point mass in a square room that looks for a target: sparse rewards without a simulator.
 *
 * Dynamics are those of the dm_control suite's point_mass away from the walls (semi-implicit Euler, the
 * damping implicit), each axis by itself:
 *
 *     v' = (mass v + dt gear u) / (mass + dt damping)          u clipped to [-1, 1]
 *     x' = x + dt v'
 *
 * **Walls** at +-arena stop the mass at once: x' = +-arena, v' = 0 (inelastic). MuJoCo has soft limits
 * there instead: its mass slows over a few steps, overshoots by a fraction of a millimetre and creeps
 * back. Inside the room both agree to rounding.
 *
 * Fields "position" 2, "velocity" 2, "target" 2 (absolute coordinates, m). **Reward** is goal_reward in each step that ends
 * within goal_radius of the target, else 0, less distance_cost times the distance. With end_at_goal the
 * first such step terminates the episode (discount 0); without it the mass may stay and collect.
 * `steps` is the time limit (last, discount 1). Reset: position uniform in the room, velocity 0, target
 * uniform at more than goal_radius from the start, or fixed. */
typedef struct bp_pointmass_config {
    uint32_t cookie;      /**< set by the default function */
    size_t steps;         /**< time limit, >= 1 (default 1000, i.e. 20 s) */
    double dt;            /**< seconds per step, > 0 (default .02) */
    double mass;          /**< kg, > 0 (default .3) */
    double damping;       /**< N s/m, >= 0 (default 1) */
    double gear;          /**< N per unit of action (default .1) */
    double arena;         /**< half the room's side, m, > 0 (default .29) */
    double goal_radius;   /**< m, > 0 and below the arena (default .03) */
    double goal_reward;   /**< (default 1) */
    double distance_cost; /**< reward per metre to pay each step; 0 = sparse (default) */
    bool end_at_goal;     /**< terminate there (default true) */
    bool random_target;   /**< a new target each episode (default true) */
    double target[2];     /**< the target if not random, inside the room (default 0, 0) */
} bp_pointmass_config;
/** @internal */
BPRIOR_API bp_pointmass_config bp_pointmass_config_make(uint32_t cookie);
/** The suite's body with a sparse, random target. */
#define bp_pointmass_config_default() bp_pointmass_config_make(BP_COOKIE(bp_pointmass_config))
/** Make a point mass. Arguments and errors as bp_pendulum_env(). */
BPRIOR_API bp_status bp_pointmass_env(bp_env *out, const bp_pointmass_config *config, const bp_allocator *allocator,
                                      bp_error *error);
/** A maker of point masses. @param config NULL: the defaults; else it must outlive the maker. */
BPRIOR_API bp_env_maker bp_pointmass_maker(const bp_pointmass_config *config);
/** @} */

/* ==========================================================================
 * 10. >>finite   Finite MDPs
 *    provides: bp_mdp_* bp_gridworld_* bp_q_learning_update bp_inference_*
 *    needs: 1, 2, 3, 9        equations: E3 E3b E6 E7 E9 E11(d)
 * ========================================================================== */
/** @defgroup bp_finite 10. Finite MDPs
 *
 * With S states and A actions everything is a table, every expectation a sum and every value exact. So
 * this chapter is where the mathematics of the library is *proved*: learners are checked against it, and
 * a new idea is cheapest to try here. All numbers are double, also when bp_real is float.
 *
 * Tables are row-major: P[(s*A + a)*S + s'], R[s*A + a], pi[s*A + a], V[s].
 *
 * **Terminal states** end the episode on arrival: their value is 0, nothing is earned or paid there, and
 * their rows of P, R and pi are not read.
 *
 *     what                              function                          equation
 *     value of a policy                 bp_mdp_evaluate()                 E3
 *     ... with a KL to a prior          bp_mdp_soft_evaluate()            E6
 *     best value                        bp_mdp_value_iteration()          E3
 *     ... with a KL to a prior          bp_mdp_soft_value_iteration()     E7
 *     ... over a finite horizon         bp_mdp_soft_horizon()             E7, E9's repair
 *     where a policy goes               bp_mdp_visitation()               d of E11
 *     learning from samples             bp_q_learning_update()            E3b
 *     planning as inference             bp_inference_*()                  E9
 *
 * **Threads**: functions that take a bp_mdp use its scratch memory, so one ::bp_mdp belongs to one thread at a time.
 * @{ */

/** A finite Markov decision process. Fill P, R, p0 (and terminal) after init or create, then call bp_mdp_check(). */
typedef struct bp_mdp {
    size_t S;       /**< states */
    size_t A;       /**< actions */
    double gamma;   /**< discount in [0,1]; 1 needs policies that reach a terminal state */
    double *P;      /**< [S][A][S] P(s'|s,a) */
    double *R;      /**< [S][A] expected reward r(s,a) */
    double *p0;     /**< [S] distribution of the first state */
    bool *terminal; /**< [S] */
    double *work;   /**< scratch, private */
    bp_owner owner; /**< where the memory came from */
} bp_mdp;

/** Bytes that bp_mdp_init() needs. BP_ERR_ARGUMENT if a size is 0, BP_ERR_SIZE if it overflows. */
BPRIOR_API bp_status bp_mdp_size(size_t S, size_t A, size_t *bytes, bp_error *error);
/** Place an all-zero MDP in the caller's memory. */
BPRIOR_API bp_status bp_mdp_init(bp_mdp *mdp, size_t S, size_t A, double gamma, void *memory, size_t bytes,
                                 bp_error *error);
/** Allocate an all-zero MDP (allocator NULL: malloc). */
BPRIOR_API bp_status bp_mdp_create(bp_mdp *mdp, size_t S, size_t A, double gamma, const bp_allocator *allocator,
                                   bp_error *error);
/** Free what create allocated and zero the struct; fine on a zeroed one. */
BPRIOR_API void bp_mdp_destroy(bp_mdp *mdp);
/** Is it an MDP? Probabilities not negative and adding up to 1 within 1e-9, rewards finite, gamma in [0,1].
 *  @return BP_ERR_ARGUMENT; the text names the state and action. */
BPRIOR_API bp_status bp_mdp_check(const bp_mdp *mdp, bp_error *error);
/** A random MDP: `successors` possible next states for each (s,a) (0: all; 1: deterministic), rewards uniform in
 *  [-1,1], a random p0, no terminal states. The same on every platform. */
BPRIOR_API void bp_mdp_random(bp_mdp *mdp, bp_rng *rng, size_t successors);
/** A random policy pi [S][A], every probability positive. */
BPRIOR_API void bp_mdp_random_policy(double *pi, bp_rng *rng, size_t S, size_t A);
/** The uniform policy pi [S][A]. */
BPRIOR_API void bp_mdp_uniform_policy(double *pi, size_t S, size_t A);

/** E3, exactly: V = (I - gamma P_pi)^-1 r_pi and Q(s,a) = r + gamma sum_s' P V(s').
 *  @f[ V^\pi = (I - \gamma P_\pi)^{-1} r_\pi @f]
 *  @param V [S] @param Q [S][A] or NULL @param pi [S][A]
 *  @return BP_ERR_ARGUMENT if the system is singular: gamma is 1 and the policy need never end. */
BPRIOR_API bp_status bp_mdp_evaluate(double *V, double *Q, const bp_mdp *mdp, const double *pi, bp_error *error);
/** E6, exactly: the same with r_pi(s) - alpha KL[pi(.|s) || pi0(.|s)] in place of r_pi(s).
 *  @f[ Q(s,a) = r + \gamma E[V(s')],\qquad V(s) = E_\pi[Q(s,a)] - \alpha KL[\pi(\cdot|s)\|\pi_0(\cdot|s)] @f]
 *  Q does not contain the KL of its own step: it was paid before the action was known.
 *  @param pi0 [S][A]; NULL: uniform @param alpha >= 0
 *  @return BP_ERR_NONFINITE if alpha > 0 and pi has mass where pi0 has none: the KL is infinite. */
BPRIOR_API bp_status bp_mdp_soft_evaluate(double *V, double *Q, const bp_mdp *mdp, const double *pi,
                                          const double *pi0, double alpha, bp_error *error);
/** E3: V*(s) = max_a Q*(s,a), by value iteration until |V - V*| <= tolerance in every state.
 *  @param Q [S][A] or NULL @param iterations where to put their number, or NULL
 *  @return BP_ERR_ARGUMENT for a tolerance <= 0; BP_ERR_NONFINITE if gamma = 1 and there is no convergence. */
BPRIOR_API bp_status bp_mdp_value_iteration(double *V, double *Q, const bp_mdp *mdp, double tolerance,
                                            size_t *iterations, bp_error *error);
/** pi [S][A]: all mass on the best action of Q [S][A]; the first one of several that are equal to 11 digits. */
BPRIOR_API void bp_mdp_greedy(double *pi, const double *Q, size_t S, size_t A);
/** E7: the best policy for a fixed prior, by soft value iteration.
 *  @f[ V^*(s) = \alpha \log \sum_a \pi_0(a|s) \exp(Q^*(s,a)/\alpha),\qquad
 *      \pi^*(a|s) = \pi_0(a|s) \exp((Q^*(s,a) - V^*(s))/\alpha) @f]
 *  alpha = 0 is the limit: greedy in Q* where pi0 > 0, ties shared in proportion to pi0.
 *  @param Q [S][A] or NULL @param pi [S][A] or NULL @param pi0 [S][A]; NULL: uniform.
 *  @return as bp_mdp_value_iteration(); BP_ERR_ARGUMENT for alpha < 0 or an empty row of pi0. */
BPRIOR_API bp_status bp_mdp_soft_value_iteration(double *V, double *Q, double *pi, const bp_mdp *mdp,
                                                 const double *pi0, double alpha, double tolerance,
                                                 size_t *iterations, bp_error *error);
/** E7 over T steps, after which nothing is worth anything: a backward sweep, no iteration.
 *  @param V [T+1][S] @param Q [T][S][A] or NULL @param pi [T][S][A] or NULL @param pi0 [S][A]; NULL: uniform. */
BPRIOR_API bp_status bp_mdp_soft_horizon(double *V, double *Q, double *pi, const bp_mdp *mdp, const double *pi0,
                                         double alpha, size_t T, bp_error *error);
/** Discounted visitation d(s) = sum_t gamma^t P(s_t = s) under pi; 0 in terminal states, where nothing is
 *  decided. Adds up to 1/(1-gamma) if there are none. Any return is then a sum over states:
 *  J = sum_s d(s) sum_a pi(a|s) r(s,a). @param d [S] @return as bp_mdp_evaluate() */
BPRIOR_API bp_status bp_mdp_visitation(double *d, const bp_mdp *mdp, const double *pi, bp_error *error);

/** E3b: one step of tabular Q-learning, Q(s,a) += rate (r + discount max_a' Q(s',a') - Q(s,a)).
 *  @param Q [S][A] @param discount gamma times the environment's discount: 0 at a termination.
 *  @return the temporal difference in the brackets, before the update. */
BPRIOR_API double bp_q_learning_update(double *Q, size_t s, size_t a, double reward, double discount, size_t next,
                                       double rate, size_t A);

/* ---- control as inference (E9) -------------------------------------------
 * Invent a binary variable O_t, "step t was optimal", with p(O_t = 1 | s, a) = exp(r(s,a)/alpha), choose
 * actions at random from a prior p(a|s), and ask what they were *given* that all steps were optimal. Planning
 * turns into message passing on a chain, and log messages into values:
 *
 *     backward   beta_t(s,a) = exp(r/alpha) sum_s' P(s'|s,a) beta_{t+1}(s')      Q_t = alpha log beta_t(s,a)
 *                beta_t(s)   = sum_a p(a|s) beta_t(s,a),  beta_T = 1             V_t = alpha log beta_t(s)
 *     policy     pi_t(a|s)   = p(a|s) beta_t(s,a) / beta_t(s)
 *     forward    f_t(s)      = p(s_t = s | O_0 .. O_{t-1})
 *     marginal   p(s_t = s | O_0 .. O_{T-1})  proportional to  f_t(s) beta_t(s)
 *
 * **Optimism.** Q_t = r + alpha log E exp(V_{t+1}/alpha), where E7 has r + E V_{t+1}. By Jensen's inequality the
 * first is never smaller: conditioning on success also conditions the *dynamics*, as if the lottery had been
 * won on purpose. For deterministic dynamics both are equal. The repair is variational: keep the
 * dynamics fixed and fit the policy alone; what comes out is bp_mdp_soft_horizon().
 *
 * Time runs from 0 to T-1; gamma is not used (it is 1 here). Messages are kept as logarithms. Rewards may
 * have any sign: only their differences matter. A trajectory that reaches a terminal state stays there and is optimal from then on. */

/** Backward messages. @param log_beta_sa [T][S][A] @param log_beta [T+1][S] @param prior [S][A]; NULL: uniform
 *  @param alpha > 0 @return BP_ERR_ARGUMENT */
BPRIOR_API bp_status bp_inference_backward_messages(double *log_beta_sa, double *log_beta, const bp_mdp *mdp,
                                                    const double *prior, double alpha, size_t T, bp_error *error);
/** The posterior policy pi [T][S][A]; rows of terminal states are the prior's. */
BPRIOR_API void bp_inference_policy(double *pi, const double *log_beta_sa, const double *log_beta, const bp_mdp *mdp,
                                    const double *prior, size_t T);
/** Forward messages f [T+1][S], each a distribution over states. */
BPRIOR_API bp_status bp_inference_forward_messages(double *f, const bp_mdp *mdp, const double *prior, double alpha,
                                                   size_t T, bp_error *error);
/** Smoothing marginals [T+1][S] p(s_t | everything was optimal), from both kinds of messages. */
BPRIOR_API void bp_inference_marginals(double *marginal, const double *f, const double *log_beta, size_t S, size_t T);

/* ---- grid worlds --------------------------------------------------------- */

/** Actions of a grid world, in this order. */
typedef enum bp_grid_action { BP_GRID_STAY = 0,
                              BP_GRID_UP,
                              BP_GRID_DOWN,
                              BP_GRID_LEFT,
                              BP_GRID_RIGHT } bp_grid_action;

/** What things cost. The defaults are those of the Distral paper's two-room world (Teh et al. 2017). */
typedef struct bp_gridworld_config {
    uint32_t cookie;    /**< set by the default function */
    double gamma;       /**< (default .95) */
    double step_reward; /**< of every move, staying included (default -.1) */
    double wall_reward; /**< of a move into a wall, instead of step_reward (default -.5) */
    double goal_reward; /**< of entering a goal, instead of step_reward (default 1) */
    bool goal_ends;     /**< goals are terminal (default true) */
    double slip;        /**< probability in [0,1] that one of the four moves happens instead, each as likely (default 0) */
} bp_gridworld_config;
/** @internal */
BPRIOR_API bp_gridworld_config bp_gridworld_config_make(uint32_t cookie);
/** The Distral paper's costs. */
#define bp_gridworld_config_default() bp_gridworld_config_make(BP_COOKIE(bp_gridworld_config))

/** A grid world: an MDP and where its states are on the map. */
typedef struct bp_gridworld {
    bp_mdp mdp;        /**< the five actions of ::bp_grid_action; states are the cells that are no walls, in reading order */
    size_t rows, cols; /**< of the map */
    size_t *cell;      /**< [S] row*cols + column of a state */
    size_t *state;     /**< [rows*cols] the state in a cell; S for walls */
    bp_owner owner;    /**< of cell and state */
} bp_gridworld;

/** Read a map: lines end with \\n, '#' wall, 'G' goal, 'S' start, ' ' or '.' free. Beyond the map, and
 *  right of a short line, is wall. Several starts are equally likely; without any, the start is uniform over the cells that are no goals.
 *  @return BP_ERR_ARGUMENT (other character: the text gives line and column; no free cell; numbers out of range),
 *  BP_ERR_CONFIG, BP_ERR_ABI, BP_ERR_MEMORY. config NULL: the defaults. */
BPRIOR_API bp_status bp_gridworld_create(bp_gridworld *grid, const char *map, const bp_gridworld_config *config,
                                         const bp_allocator *allocator, bp_error *error);
/** Free everything; fine on a zeroed struct. */
BPRIOR_API void bp_gridworld_destroy(bp_gridworld *grid);
/** The state at (row, column); grid->mdp.S if that is a wall or outside. */
BPRIOR_API size_t bp_gridworld_state(const bp_gridworld *grid, size_t row, size_t col);
/** Draw a policy pi [S][A] as text: # wall, G terminal, and for each cell the most probable action as o ^ v < >.
 *  @param out [capacity], rows*(cols+1)+1 are needed @return false if they do not fit */
BPRIOR_API bool bp_gridworld_draw(char *out, size_t capacity, const bp_gridworld *grid, const double *pi);

/** An MDP as an environment: field "state" [S] one-hot, A discrete actions, reward R(s,a), last and discount 0 on
 *  arrival in a terminal state. @param mdp borrowed: must outlive the environment and not change
 *  @param steps time limit (last with discount 1); 0: none */
BPRIOR_API bp_status bp_mdp_env(bp_env *out, const bp_mdp *mdp, size_t steps, const bp_allocator *allocator,
                                bp_error *error);
/** @} */

/* ==========================================================================
 * 11. >>objectives   KL-regularised objectives
 *    provides: bp_prior_kind_* bp_regularised_reward bp_box_* bp_mdp_objective_* bp_trajectory_*
 *    needs: 1, 2, 9, 10        equations: E1 E2 E4 E5 E7 E8
 * ========================================================================== */
/** @defgroup bp_objectives 11. KL-regularised objectives
 *
 * One objective stands behind all learners of this library (E4):
 *
 * @f[ L(\pi,\pi_0) = E_\pi \sum_t \gamma^t \left( r_t - \alpha\, KL[\pi(\cdot|x_t) \| \pi_0(\cdot|x_t)] \right) @f]
 *
 * Reward is earned, distance from the prior is paid for, alpha is the price of a nat. Which algorithm
 * this is depends on nothing but where pi0 comes from (E8): see ::bp_prior_kind. With alpha = 0 it is E2.
 *
 * This chapter has the pieces that any program needs (kinds of priors, the regularised reward), and L
 * itself on finite MDPs, exactly, with its gradients: the yardstick for everything that estimates it.
 * @{ */

/** Where the prior pi0 comes from (E8). The same learner with another kind is another algorithm. */
typedef enum bp_prior_kind {
    BP_PRIOR_NONE = 0,  /**< no KL term: plain reinforcement learning (with a small entropy bonus: SVG(0)) */
    BP_PRIOR_UNIFORM,   /**< uniform over the action box or the choices: -KL = entropy - log volume, so this
                             is entropy-regularised RL (soft Q-learning, SAC). Says: keep options open */
    BP_PRIOR_ISOTROPIC, /**< N(0, std^2 I) for real actions; uniform for choices. Says: act little */
    BP_PRIOR_PREVIOUS,  /**< the policy's own target copy: a trust region, as in MPO and TRPO. Says: do not
                             change too fast. The optimum of the reward is unmoved: the price fades as learning ends */
    BP_PRIOR_LEARNED,   /**< trained beside the policy by distillation (E17), usually seeing less (E14): a *behavior prior*. Says: do what
                             works in general. With several tasks: Distral (E10) */
    BP_PRIOR_FIXED      /**< trained before and frozen: transfer to a new task */
} bp_prior_kind;
#define BP_PRIOR_KINDS 6 /**< how many kinds there are */

/** "none", "uniform", "isotropic", "previous", "learned", "fixed"; "?" for other numbers. */
BPRIOR_API const char *bp_prior_kind_str(bp_prior_kind kind);
/** The kind of that name. @return BP_ERR_ARGUMENT: the text lists the names. */
BPRIOR_API bp_status bp_prior_kind_parse(bp_prior_kind *kind, const char *name, bp_error *error);

/** r - alpha (log pi(a|x) - log pi0(a|x)): one sample of E4's summand. Its mean over a ~ pi is r - alpha KL. */
BPRIOR_API bp_real bp_regularised_reward(bp_real reward, bp_real log_pi, bp_real log_pi0, bp_real alpha);
/** log Omega, the logarithm of the volume of the action box; log K for K choices; +infinity if a bound is infinite. */
BPRIOR_API double bp_box_log_volume(const bp_spec *spec);
/** E8: KL[pi || uniform on a volume Omega] = log Omega - H[pi]. True when pi lives inside the box; a Gaussian leaks out of it,
 *  and then this is the formula that entropy-regularised learners use all the same. */
BPRIOR_API double bp_uniform_kl(double entropy, double log_volume);

/* ---- L on finite MDPs ---------------------------------------------------- */

/** L and what it is made of. */
typedef struct bp_objective {
    double value;      /**< E4: L = return - alpha * divergence */
    double reward;     /**< E2: J = E sum gamma^t r */
    double divergence; /**< E sum gamma^t KL[pi || pi0], nats */
} bp_objective;

/** E4 from p0, exactly. @param pi [S][A] @param pi0 [S][A], NULL: uniform. With alpha = 0 the divergence is
 *  reported (it may be infinite) but not paid.
 *  @return as bp_mdp_soft_evaluate() */
BPRIOR_API bp_status bp_mdp_objective(bp_objective *out, const bp_mdp *mdp, const double *pi, const double *pi0,
                                      double alpha, bp_error *error);
/** pi [S][A] = softmax of logits [S][A], row by row. */
BPRIOR_API void bp_mdp_softmax(double *pi, const double *logits, size_t S, size_t A);
/** Exact gradients of E4 with respect to the logits of pi = softmax(logits) and pi0 = softmax(logits0):
 *
 *     dlogits(s,a)  += dL d(s) pi(a|s) [ Q(s,a) - alpha log(pi(a|s)/pi0(a|s)) - V(s) ]
 *     dlogits0(s,a) += dL alpha d(s) [ pi(a|s) - pi0(a|s) ]
 *
 *  with d the visitation of pi and Q, V soft values (E6).
 *  @param dlogits [S][A] or NULL, added to @param dlogits0 [S][A] or NULL, added to @param dL the gradient with respect to L */
BPRIOR_API bp_status bp_mdp_objective_backward(double *dlogits, double *dlogits0, double dL, const bp_mdp *mdp,
                                               const double *pi, const double *pi0, double alpha, bp_error *error);

/** What enumerating every trajectory of T steps gives (E1, E5). */
typedef struct bp_trajectory_sums {
    uint64_t count;       /**< trajectories of positive probability under pi */
    double probability;   /**< their total: 1 */
    double reward;        /**< E sum_t gamma^t r_t */
    double divergence;    /**< E sum_t gamma^t log pi(a_t|s_t)/pi0(a_t|s_t) */
    double trajectory_kl; /**< KL[pi(tau) || pi0(tau)] from the two *trajectory* probabilities of E1, dynamics
                               included. They cancel: equal to `divergence` if gamma = 1 */
} bp_trajectory_sums;

/** E5 by brute force: every trajectory s_0 a_0 s_1 ... s_T that pi can produce, at cost (S A)^T. A
 *  trajectory ends early in a terminal state.
 *  @param pi [T][S][A] with pi_stride = S*A, or [S][A] with pi_stride = 0 (the same policy in each step); pi0 alike.
 *  @return BP_ERR_NONFINITE if pi can do what pi0 cannot. */
BPRIOR_API bp_status bp_trajectory_enumerate(bp_trajectory_sums *out, const bp_mdp *mdp, const double *pi,
                                             size_t pi_stride, const double *pi0, size_t pi0_stride, size_t T,
                                             bp_error *error);
/** @} */

/* ==========================================================================
 * 12. >>distral   Distral
 *    provides: bp_distral_*  bp_tworooms_*
 *    needs: 1, 2, 3, 10, 11        equations: E10 E11 E12 E13
 * ========================================================================== */
/** @defgroup bp_distral_group 12. Distral
 *
 * Several tasks, a policy for each, and one prior that all are pulled toward and that is itself pulled toward all
 * of them (E10; Teh et al., "Distral: Robust Multitask Reinforcement Learning", 2017):
 *
 * @f[ L = \sum_w p(w)\, E_{\pi_w} \sum_t \gamma^t \left( r_w - c_{KL} \log\frac{\pi_w(a_t|s_t)}{\pi_0(a_t|s_t)}
 *         - c_{Ent} \log \pi_w(a_t|s_t) \right) @f]
 *
 * The talk writes this with c_Ent = 0 and c_KL = alpha; the published algorithm (E13) has both. So every function here
 * takes the two prices, in reward per nat, and c_ent = 0 is E10. In terms of the paper's
 *
 *     alpha' = c_kl / (c_kl + c_ent)      how much of the prior a policy starts from
 *     beta   = 1 / (c_kl + c_ent)         inverse temperature: how greedy it is in its values
 *
 * the best policy of a task is pi_w(a|s) = pi0(a|s)^alpha' exp(beta (Q_w(s,a) - V_w(s))).
 *
 *     what                                        function                           equation
 *     L and its parts, together and per task      bp_distral_objective()             E10, E13
 *     best policies for a prior                   bp_distral_best_policies()         E7, E13
 *     best prior for policies                     bp_distral_best_prior()            E11
 *     ... which minimises                         bp_distral_loss()                  E11
 *     both in turn                                bp_distral_solve()                 E12
 *     two columns h, f and gradients of L         bp_distral_two_column() _backward  E13
 *     learning from samples, on tables            bp_distral_learner_*()             E13
 *     two rooms and a corridor                    bp_tworooms_*()                    the paper's grid world
 *
 * **Differences from the paper.** It sums over the tasks; here they are weighted by p(w), which adds up to 1. Its prior
 * sees the whole state, which does not contain the task; here, as in chapter 13, it may see still less: a class phi(s).
 *
 * **Staying alive.** The entropy bonus is never negative: c_ent log A per step is to be had by acting at random. Where
 * episodes end at a goal and steps cost less than that, the best regularised policy *avoids the goal*. With c_kl alone
 * this cannot happen: the KL is a price, and the policy that equals the prior pays 0. That is why the default of
 * ::bp_distral_config is c_ent = 0, and why "no prior" is best said as "a uniform prior that does not learn"
 * (log A - H instead of -H, E8).
 *
 * **Threads**: as in chapter 10, the scratch memory of the MDPs is used, so a set of tasks belongs to one thread at a time.
 * @{ */

/** The tasks. Plain data, borrowed pointers: everything must outlive the calls (and the learner) that use it. */
typedef struct bp_distral_tasks {
    size_t n;          /**< W >= 1 */
    const bp_mdp *mdp; /**< [W] with the same S and A. A struct may be copied into this array: its tables are not */
    const double *p;   /**< [W] p(w), adds up to 1; NULL: all alike */
    const size_t *phi; /**< [S] the class of a state, which is all that the prior sees; NULL: the state itself */
    size_t classes;    /**< C, how many classes; with phi NULL it is S, whatever stands here */
} bp_distral_tasks;

/** Are these tasks? Every MDP passes bp_mdp_check() and has the same sizes, p is a distribution, classes are below C.
 *  Only this function looks at all numbers; the others look at sizes, p and classes.
 *  @return BP_ERR_ARGUMENT; the text names the task. */
BPRIOR_API bp_status bp_distral_check(const bp_distral_tasks *tasks, bp_error *error);
/** C: the rows of a prior. */
BPRIOR_API size_t bp_distral_classes(const bp_distral_tasks *tasks);

/** L and what it is made of: value = reward - c_kl * divergence + c_ent * entropy. */
typedef struct bp_distral_value {
    double value;      /**< L */
    double reward;     /**< E sum gamma^t r */
    double divergence; /**< E sum gamma^t KL[pi_w || pi0], nats */
    double entropy;    /**< E sum gamma^t H[pi_w], nats */
} bp_distral_value;

/** E10 (c_ent = 0) and E13, exactly. What is not paid for (c_kl = 0) is reported, though it may be infinite.
 *  @param out sum over tasks, weighted by p(w) @param each [W] the tasks one by one, unweighted; or NULL
 *  @param pi [W][S][A] @param prior [C][A] @param c_kl >= 0 @param c_ent >= 0
 *  @return as bp_mdp_objective(); the text names the task */
BPRIOR_API bp_status bp_distral_objective(bp_distral_value *out, bp_distral_value *each,
                                          const bp_distral_tasks *tasks, const double *pi, const double *prior,
                                          double c_kl, double c_ent, bp_error *error);

/** What the prior is trained on: sum_w p(w) sum_s d_w(s) KL[pi_w(.|s) || prior(.|phi(s))], nats, with d_w the discounted
 *  visitation of pi_w; +infinity where a policy does what the prior never does. L contains it -c_kl times, and nothing
 *  else in L depends on the prior. @param pi [W][S][A] @param prior [C][A] @return as bp_mdp_visitation() */
BPRIOR_API bp_status bp_distral_loss(double *loss, const bp_distral_tasks *tasks, const double *pi,
                                     const double *prior, bp_error *error);
/** E11: the prior that minimises bp_distral_loss(), the policies' mixture over tasks and over states that look alike,
 *  weighted by how often each is there.
 *  @f[ \pi_0^*(a|x) = \sum_w p(w|x)\,\pi_w(a|x),\qquad p(w|x) \propto p(w)\,d_{\pi_w}(x) @f]
 *  The divergence has the policies in front, so the prior covers all that any of them does (mode-covering).
 *  Classes that are never seen get the uniform prior.
 *  @param prior [C][A] out @param pi [W][S][A] @return as bp_mdp_visitation() */
BPRIOR_API bp_status bp_distral_best_prior(double *prior, const bp_distral_tasks *tasks, const double *pi,
                                           bp_error *error);

/** E13 for one task, by soft value iteration until |V - V*| <= tolerance:
 *  @f[ V(s) = \frac{1}{\beta} \log \sum_a \pi_0(a|s)^{\alpha'} e^{\beta Q(s,a)},\qquad
 *      \pi(a|s) = \pi_0(a|s)^{\alpha'} e^{\beta (Q(s,a) - V(s))} @f]
 *  With c_ent = 0 it is E7; with c_kl = 0 the prior plays no part.
 *  @param V [S] @param Q [S][A] or NULL @param pi [S][A] or NULL @param pi0 [S][A]; NULL: uniform
 *  @param c_kl, c_ent >= 0, not both 0
 *  @return as bp_mdp_soft_value_iteration() */
BPRIOR_API bp_status bp_distral_value_iteration(double *V, double *Q, double *pi, const bp_mdp *mdp,
                                                const double *pi0, double c_kl, double c_ent, double tolerance,
                                                size_t *iterations, bp_error *error);
/** The same for all tasks and a prior over classes. @param pi [W][S][A] out @param V [W][S] out, or NULL
 *  @param prior [C][A] */
BPRIOR_API bp_status bp_distral_best_policies(double *pi, double *V, const bp_distral_tasks *tasks,
                                              const double *prior, double c_kl, double c_ent, double tolerance,
                                              bp_error *error);
/** E12: best policies for the prior (E13), best prior for the policies (E11), in turn. Never lowers L, since each half
 *  maximises it over its own variables. Ends near a local optimum that depends on where the prior starts.
 *  @param pi [W][S][A] out @param prior [C][A] in: the start, positive wherever it shall ever be; out: the result
 *  @param L [rounds][2] after the policies' half and after the prior's half of each round, or NULL
 *  @param c_kl, c_ent >= 0, not both 0 @return as bp_distral_best_policies() */
BPRIOR_API bp_status bp_distral_solve(double *pi, double *prior, double *L, const bp_distral_tasks *tasks,
                                      double c_kl, double c_ent, size_t rounds, bp_error *error);

/** E13's two columns: pi_w(.|s) = softmax(alpha' h(phi(s)) + beta f_w(s)) and prior = softmax(h). What all tasks share goes
 *  into h, and f_w only has to hold what is special about its task.
 *  @param pi [W][S][A] out @param prior [C][A] out @param h [C][A] @param f [W][S][A]
 *  @param c_kl, c_ent >= 0, not both 0 @return BP_ERR_ARGUMENT */
BPRIOR_API bp_status bp_distral_two_column(double *pi, double *prior, const double *h, const double *f,
                                           const bp_distral_tasks *tasks, double c_kl, double c_ent,
                                           bp_error *error);
/** Exact policy gradients of L (E13) with respect to the two columns. With G_w(s,a) the expected regularised return after
 *  (s,a), its own step's price included, and V_w(s) its mean:
 *
 *     df_w(s,a) += dL beta p(w) d_w(s) pi_w(a|s) [ G_w(s,a) - V_w(s) ]
 *     dh(c,a)   += dL sum_w p(w) sum_{s: phi(s)=c} d_w(s) ( alpha' pi_w(a|s) [ G_w(s,a) - V_w(s) ]
 *                                                           + c_kl [ pi_w(a|s) - pi0(a|c) ] )
 *
 *  The second line's two parts are: h as a part of the policies, and h as the prior, which is distilled from them
 *  (alpha'/beta = c_kl).
 *  @param dh [C][A] or NULL, added to @param df [W][S][A] or NULL, added to @param dL the gradient with respect to L
 *  @param pi [W][S][A] and prior [C][A]: of bp_distral_two_column()
 *  @return as bp_mdp_soft_evaluate() */
BPRIOR_API bp_status bp_distral_backward(double *dh, double *df, double dL, const bp_distral_tasks *tasks,
                                         const double *pi, const double *prior, double c_kl, double c_ent,
                                         bp_error *error);

/* ---- learning from samples ----------------------------------------------- */

/** How to learn. Start from bp_distral_config_default(): the paper's rate, temperature, pseudo-count and rollouts. */
typedef struct bp_distral_config {
    uint32_t cookie;     /**< set by the default function */
    double c_kl;         /**< price of the KL to the prior, reward per nat, >= 0 (default .2: beta = 5 and alpha' = 1) */
    double c_ent;        /**< bonus for entropy, reward per nat, >= 0 (default 0; see "Staying alive") */
    double rate;         /**< learning rate of the soft Q-learning, in (0,1] (default .1) */
    double pseudo_count; /**< > 0: every action of every class counts as seen that often; keeps the prior positive (default 1) */
    double keep;         /**< in [0,1]: what a round leaves of the older counts. 1: all count alike, for ever. Lower: the
                              prior follows faster what the policies do now, and is noisier (default 1) */
    size_t rollout;      /**< steps of a rollout, >= 1 (default 10) */
    bool learn_prior;    /**< false: the prior stays uniform, so that every task learns by itself (default true) */
} bp_distral_config;
/** @internal used by bp_distral_config_default() */
BPRIOR_API bp_distral_config bp_distral_config_make(uint32_t cookie);
/** The settings of the paper's grid world. */
#define bp_distral_config_default() bp_distral_config_make(BP_COOKIE(bp_distral_config))

/** A soft Q-table for each task, and a prior made of counts. Fields are read-only; nothing is allocated after init. One
 *  thread at a time. */
typedef struct bp_distral_learner {
    bp_distral_config config; /**< as given */
    bp_distral_tasks tasks;   /**< as given, borrowed */
    double *Q;                /**< [W][S][A] starts at 0 */
    double *count;            /**< [C][A] how often each action was taken, p(w)-weighted */
    double *prior;            /**< [C][A] (count + pseudo_count) / sum; starts uniform */
    double *bias;             /**< [C][A] c_kl log prior */
    double *row;              /**< [A] scratch */
    uint64_t rounds, steps;   /**< made so far; a round is a rollout for each task and a distillation */
    double reward;            /**< of the last round: undiscounted sum over its rollouts */
    bp_owner owner;           /**< where the memory came from */
} bp_distral_learner;

/** Bytes that bp_distral_learner_init() needs. @return BP_ERR_CONFIG, BP_ERR_ABI (cookie), BP_ERR_ARGUMENT (the text names the
 *  number or the task), BP_ERR_SIZE */
BPRIOR_API bp_status bp_distral_learner_size(const bp_distral_tasks *tasks, const bp_distral_config *config,
                                             size_t *bytes, bp_error *error);
/** Build in the caller's memory. @param tasks must pass bp_distral_check() @param config NULL: the defaults */
BPRIOR_API bp_status bp_distral_learner_init(bp_distral_learner **out, void *memory, size_t bytes,
                                             const bp_distral_tasks *tasks, const bp_distral_config *config,
                                             bp_error *error);
/** Allocate (NULL: malloc) and build. @return as bp_distral_learner_size(), or BP_ERR_MEMORY */
BPRIOR_API bp_status bp_distral_learner_create(bp_distral_learner **out, const bp_distral_tasks *tasks,
                                               const bp_distral_config *config, const bp_allocator *allocator,
                                               bp_error *error);
/** Free what bp_distral_learner_create() made; NULL is fine. */
BPRIOR_API void bp_distral_learner_destroy(bp_distral_learner *learner);
/** One round. Each task in turn is played for one rollout, from p0 on, by its own soft policy (E13), with after every step
 *
 *     Q_w(s,a) += rate ( r + gamma V_w(s') - Q_w(s,a) ),    V_w = (1/beta) log sum_a pi0^alpha' exp(beta Q_w)
 *
 *  and then the prior is distilled from the actions taken: a maximum-likelihood fit, with pseudo-counts. It weighs states
 *  by how often rollouts see them, without gamma, where E11 has the discounted visitation.
 *  The same numbers for the same rng; they may differ between C libraries in the last bits of exp and log. */
BPRIOR_API void bp_distral_learner_round(bp_distral_learner *learner, bp_rng *rng);
/** What it would play now. @param pi [W][S][A] out: E13 with its Q and prior */
BPRIOR_API void bp_distral_learner_policies(double *pi, const bp_distral_learner *learner);

/* ---- two rooms ----------------------------------------------------------- */

/** What a state of the two rooms remembers of the step before. A bump is a move that a wall stopped: it cost wall_reward
 *  where all others cost step_reward, so (previous action, previous reward) is this list and nothing else; goals pay
 *  more, but nobody acts after them. */
typedef enum bp_tworooms_memory {
    BP_MEMORY_START = 0, /**< an episode begins: there was no step */
    BP_MEMORY_STAY,
    BP_MEMORY_UP,
    BP_MEMORY_DOWN,
    BP_MEMORY_LEFT,
    BP_MEMORY_RIGHT, /**< BP_MEMORY_START + 1 + the action of ::bp_grid_action */
    BP_MEMORY_UP_BUMPED,
    BP_MEMORY_DOWN_BUMPED,
    BP_MEMORY_LEFT_BUMPED,
    BP_MEMORY_RIGHT_BUMPED
} bp_tworooms_memory;
#define BP_MEMORIES 10 /**< how many memories there are */

/** What a prior sees of a state of the two rooms: a sum of these. None of them is the goal. */
typedef enum bp_tworooms_sees {
    BP_SEES_CELL = 1,   /**< where it is */
    BP_SEES_ACTION = 2, /**< the action before, or that there was none */
    BP_SEES_REWARD = 4, /**< whether the step before was a bump */
    BP_SEES_ALL = 7     /**< as published */
} bp_tworooms_sees;

/** The world. Start from bp_tworooms_config_default(). */
typedef struct bp_tworooms_config {
    uint32_t cookie;           /**< set by the default function */
    const char *map;           /**< '#' wall, '.' cell that may be a goal, ' ' cell that may not (a corridor), 'S' start, as in
                                    bp_gridworld_create(); read by create only (default: two rooms of 3 x 3, 5 cells of corridor) */
    bp_gridworld_config costs; /**< gamma and rewards (default the paper's); slip must be 0, goal_ends true */
    size_t tasks;              /**< W: so many different goals, drawn uniformly from the '.' cells (default 10) */
    uint64_t seed;             /**< of that draw (default 1) */
} bp_tworooms_config;
/** @internal used by bp_tworooms_config_default() */
BPRIOR_API bp_tworooms_config bp_tworooms_config_make(uint32_t cookie);
/** The paper's costs, ten tasks. */
#define bp_tworooms_config_default() bp_tworooms_config_make(BP_COOKIE(bp_tworooms_config))

/** The two-room grid world of the Distral paper as W MDPs: the state is (cell, memory of the step before), tasks differ in
 *  their goal, which ends the episode, and start anywhere else with nothing remembered. Because the state holds the
 *  previous action, a prior can keep a direction, though it is never told where anything goes. */
typedef struct bp_tworooms {
    bp_gridworld grid; /**< the map, one state per cell, no goal */
    size_t S, W;       /**< states (cells * BP_MEMORIES) and tasks */
    bp_mdp *mdp;       /**< [W] the tasks, for ::bp_distral_tasks */
    size_t *goal;      /**< [W] the cell (state of `grid`) that each task wants; behind them the '.' cells that none wants */
    bp_owner owner;    /**< of mdp and goal */
} bp_tworooms;

/** Build. @param config NULL: the defaults @param allocator NULL: malloc
 *  @return BP_ERR_CONFIG, BP_ERR_ABI (cookies), BP_ERR_ARGUMENT (the map, slip, more tasks than '.' cells; the text says
 *  which), BP_ERR_MEMORY, BP_ERR_SIZE */
BPRIOR_API bp_status bp_tworooms_create(bp_tworooms *rooms, const bp_tworooms_config *config,
                                        const bp_allocator *allocator, bp_error *error);
/** Free everything; fine on a zeroed struct. */
BPRIOR_API void bp_tworooms_destroy(bp_tworooms *rooms);
/** The state of a cell (state of rooms->grid) and a memory: cell * BP_MEMORIES + memory. */
BPRIOR_API size_t bp_tworooms_state(size_t cell, bp_tworooms_memory memory);
/** The classes of a prior that sees so much. @param phi [S] out @param sees a sum of ::bp_tworooms_sees; 0: nothing at all
 *  @return C, for ::bp_distral_tasks; some classes may be empty */
BPRIOR_API size_t bp_tworooms_classes(size_t *phi, const bp_tworooms *rooms, unsigned sees);
/** The prior in every cell after one and the same memory: what bp_gridworld_draw() draws.
 *  @param pi0 [cells][5] out @param prior [C][5] @param phi [S] as bp_tworooms_classes() made it */
BPRIOR_API void bp_tworooms_slice(double *pi0, const double *prior, const size_t *phi, const bp_tworooms *rooms,
                                  bp_tworooms_memory memory);
/** @} */

/* ==========================================================================
 * 13. >>asymmetry   Information asymmetry
 *    provides: bp_field_set_* bp_asymmetric_*  bp_distilled_prior
 *    needs: 1, 9, 10, 11, 12        equations: E14 E17
 * ========================================================================== */
/** @defgroup bp_asymmetry 13. Information asymmetry
 *
 * A prior that saw all that the policy sees would copy it, and the KL would teach nothing. What makes a
 * *behavior* prior is what it may not see (E14):
 *
 * @f[ L = E_\pi \sum_t \gamma^t \left( r_t - \alpha\, KL[\pi(\cdot|x_t) \| \pi_0(\cdot|x^D_t)] \right),\qquad x = (x^G, x^D) @f]
 *
 * Hide the goal (x^G) and the prior learns what is common to all goals; hide the position and it learns
 * the rhythm of the body. Here the split is a list of field names for each network: a ::bp_field_set.
 *
 * The second half of the chapter is the same thing on finite MDPs, exactly: the prior sees only the class
 * phi(s) of a state.
 * @{ */

/** Some fields of an observation, resolved from their names. Plain data without pointers; copy freely. */
typedef struct bp_field_set {
    size_t n;                     /**< how many fields */
    size_t index[BP_MAX_FIELDS];  /**< which fields of the spec, in the order of the names */
    size_t offset[BP_MAX_FIELDS]; /**< where each starts in an observation */
    size_t length[BP_MAX_FIELDS]; /**< numbers in each */
    size_t size;                  /**< numbers in all: the length of a gathered row */
} bp_field_set;

/** Resolve names against a spec. "*" stands for all fields, in the spec's order. An empty list is
 *  allowed and gives size 0: a prior that sees nothing.
 *  @return BP_ERR_FIELD: a name is not in the spec (the text names it and lists those that are);
 *  BP_ERR_ARGUMENT: a field is named twice, or names is NULL. Thread safe. */
BPRIOR_API bp_status bp_field_set_make(bp_field_set *set, const bp_spec *spec, const char *const *names, size_t n,
                                       bp_error *error);
/** Does the set hold this field of the spec? */
BPRIOR_API bool bp_field_set_has(const bp_field_set *set, size_t field_index);
/** Copy what a network may see: out [n][set->size] from observation [*][observation_size].
 *  @param rows [n] which rows of observation to take, or NULL for rows 0 .. n-1 */
BPRIOR_API void bp_field_gather(bp_real *out, const bp_real *observation, const bp_field_set *set,
                                size_t observation_size, size_t n, const size_t *rows);
/** The pullback of bp_field_gather(): dobservation [*][observation_size] += dout [n][set->size], scattered to
 *  where each number came from. A row that was gathered twice collects both. */
BPRIOR_API void bp_field_gather_backward(bp_real *dobservation, const bp_real *dout, const bp_field_set *set,
                                         size_t observation_size, size_t n, const size_t *rows);

/* ---- the same on finite MDPs ---------------------------------------------
 * The prior sees phi(s), the class of a state, one of C: rooms in place of cells, cells without the goal, or
 * nothing (C = 1). A prior over classes is a table [C][A]. */

/** pi0 [S][A] <- prior [C][A]: the same prior as a function of the full state. Entries of phi must be below C. */
BPRIOR_API void bp_asymmetric_expand(double *pi0, const double *prior, const size_t *phi, size_t S, size_t A);
/** E14 exactly: bp_mdp_objective() with the prior prior(.|phi(s)). @param prior [C][A] @param phi [S] classes below C
 *  @return as bp_mdp_objective(); BP_ERR_ARGUMENT for a class out of range */
BPRIOR_API bp_status bp_asymmetric_objective(bp_objective *out, const bp_mdp *mdp, const double *pi,
                                             const double *prior, const size_t *phi, size_t C, double alpha,
                                             bp_error *error);
/** E17, what a prior is trained on: sum_s d(s) KL[pi(.|s) || prior(.|phi(s))], nats. +infinity if the prior lacks support.
 *  @param d [S] visitation, see bp_mdp_visitation() */
BPRIOR_API double bp_distillation_loss(const double *prior, const double *d, const double *pi, const size_t *phi,
                                       size_t S, size_t A);
/** Its gradient with respect to the logits of prior = softmax(logits) [C][A], added:
 *  dlogits(c,a) += dloss sum_{s: phi(s)=c} d(s) (prior(a|c) - pi(a|s)). That of the cross-entropy is the same. */
BPRIOR_API void bp_distillation_backward(double *dlogits, double dloss, const double *prior, const double *d,
                                         const double *pi, const size_t *phi, size_t S, size_t A);
/** The minimum of E17 in closed form: the mixture of the policies of all states that look alike, weighted by visitation.
 *  @f[ \pi_0^*(a|c) = \frac{\sum_{s:\phi(s)=c} d(s)\,\pi(a|s)}{\sum_{s:\phi(s)=c} d(s)} @f]
 *  Classes that are never seen get the uniform prior. @param prior [C][A] out @param phi [S] classes below C */
BPRIOR_API void bp_distilled_prior(double *prior, const double *d, const double *pi, const size_t *phi, size_t S,
                                   size_t A, size_t C);
/** Best policy for the prior (E7), best prior for the policy (E17), in turn, `rounds` times: never lowers E14, since
 *  each half maximises the same L. Finds a local optimum that depends on where the prior starts.
 *  @param pi [S][A] out @param prior [C][A] in: the start, out: the result @param L [rounds] E14 after each round, or NULL
 *  @param pi0 [S][A] and d [S]: the caller's scratch @return as bp_mdp_soft_value_iteration() */
BPRIOR_API bp_status bp_asymmetric_solve(double *pi, double *prior, double *L, double *pi0, double *d,
                                         const bp_mdp *mdp, const size_t *phi, size_t C, double alpha,
                                         size_t rounds, bp_error *error);
/** @} */

/* ==========================================================================
 * 14. >>policies   Policies and priors
 *    provides: bp_policy_*  bp_unroll  bp_latent  bp_behavior_*  bp_tensor      needs: 1-9, 11, 13
 *    equations: E4 E8 E14 E18 E23 E27 E28 E29 E32 E33 E35
 * ========================================================================== */
/** @defgroup bp_policies 14. Policies and priors
 *
 * A policy maps observations to a distribution over actions:
 *
 *     obs [N][O] --gather the fields it may see--> x [N][I] --MLP--> raw --head--> distribution
 *     obs [T][B][O] ------------ the same -------> x --MLP--> gates --LSTM--> h --linear--> raw --head--> distribution
 *
 * and a behavior prior is *the same thing with its own list of fields*. That list is all there is to
 * information asymmetry (E14): give the policy ("position", "targets", "goal") and the prior ("position",
 * "targets"), and the prior can only learn what is common to all goals.
 *
 * A ::bp_policy holds sizes and field indices, never numbers: its parameters are one plain array that
 * you own. So an online copy, a target copy, a gradient and Adam's moments are four arrays of
 * bp_policy.n_params numbers, and one bp_policy describes them all.
 *
 * **Distributions as arrays.** A batch of N action distributions is one array `dist`:
 *
 *     Gaussian     [2][N][A]   all means, then all standard deviations
 *     categorical  [N][K]      logits (any constant may be added to a row)
 *
 * **Memory.** With `lstm` units in its configuration a policy remembers (E35): its *state* is h and c of the LSTM, 2H numbers
 * that the caller keeps, zeros at the start of an episode. Functions that take a ::bp_unroll run T steps of B sequences
 * at once; for a policy without memory that is T*B independent rows.
 *
 * **Two levels** (E23, E27). A high level draws a latent z, a low level acts on it:
 *
 *     pi(a|x) = integral of pi^L(a|z,x) pi^H(z|x) dz
 *
 * Both are ::bp_policy objects: the high level is one whose "action" is z, the low level one with z as second input.
 * ::bp_behavior puts them together and acts; a policy of one level is the special case without a latent.
 * @{ */

/** What a policy's network parametrises. */
typedef enum bp_output {
    BP_OUTPUT_GAUSSIAN = 0, /**< diagonal Gaussian over A real numbers (E32) */
    BP_OUTPUT_CATEGORICAL   /**< one of K choices (E33) */
} bp_output;

/** How to build a policy or a prior. Start from bp_policy_config_default(). */
typedef struct bp_policy_config {
    uint32_t cookie;                   /**< set by the default function; do not touch */
    size_t n_fields;                   /**< how many names follow (default 1) */
    const char *fields[BP_MAX_FIELDS]; /**< observation fields it sees, by name; "*" = all (default);
                                              no field at all: a state-independent distribution. The strings are read by init only. */
    size_t hidden_layers;              /**< 0 .. BP_MAX_LAYERS (default 2) */
    size_t width[BP_MAX_LAYERS];       /**< units of each hidden layer (default 64) */
    bp_activation activation;          /**< of the hidden layers after the first (default ELU) */
    bool layer_norm;                   /**< first layer: linear, layer norm, tanh (default true) */
    double init_scale;                 /**< fan-out variance scaling of hidden layers (default .333) */
    double head_scale;                 /**< multiplies the last layer's initial weights (default 1e-4):
                                              every state starts with the same wide distribution */
    double init_std;                   /**< Gaussian: standard deviation at the start (default .7) */
    double min_std;                    /**< Gaussian: smallest standard deviation (default .1); keeps
                                              the KL to a confident prior finite */
    bool tanh_mean;                    /**< Gaussian: squash the mean into (-1,1) (default true) */
    size_t lstm;                       /**< units of an LSTM between the hidden layers and the head; 0: no memory (default).
                                              Raising it: longer and finer memory, at a cost that grows with its square */
} bp_policy_config;

/** @internal used by bp_policy_config_default() */
BPRIOR_API bp_policy_config bp_policy_config_make(uint32_t cookie);
/** The authors' released settings, with 64-64 hidden units and all fields visible. */
#define bp_policy_config_default() bp_policy_config_make(BP_COOKIE(bp_policy_config))

/** A policy's structure: plain data, no pointers; copy freely. Read-only after bp_policy_init(). */
typedef struct bp_policy {
    bp_output output;              /**< Gaussian or categorical, from the spec's action kind */
    size_t observation_size;       /**< O: numbers in a full observation */
    size_t action_size;            /**< numbers in an action array: A, or 1 (the index) when categorical */
    size_t n_choices;              /**< K when categorical, else 0 */
    size_t dist_size;              /**< numbers that describe one distribution: 2A or K */
    bp_field_set fields;           /**< what it sees */
    size_t latent_size;            /**< Z: numbers of its second input, when it is the low level of two (or an autoregressive
                                  high level); else 0 */
    bp_mlp net;                    /**< without memory: input fields.size (at least 1), output dist_size */
    bp_rnn rnn;                    /**< with memory: the same input, output H; then a linear layer to dist_size */
    size_t state_size;             /**< 2H: h, then c; 0 without memory */
    bp_gaussian_head head;         /**< Gaussian only */
    double init_scale, head_scale; /**< with memory: initial weights of its last layer */
    size_t n_params;               /**< length of every parameter array of this policy */
    size_t n_views;                /**< named parts of it: bp_policy_view() */
} bp_policy;

/** What a policy is run on: T steps of B sequences side by side; row t*B + b is step t of sequence b. */
typedef struct bp_unroll {
    size_t T, B;                /**< sizes */
    const bp_real *observation; /**< [*][O] */
    const size_t *rows;         /**< [T*B] which row of `observation`; NULL: rows 0 .. T*B-1 */
    const bp_real *latent;      /**< [T*B][Z] second input; NULL when the policy has none */
    const bp_real *state;       /**< [B][state_size] before step 0; NULL: zeros. Unused without memory */
    const bp_real *reset;       /**< [T*B] nonzero: an episode starts here, so the state is zeroed before this step; NULL: nowhere */
    size_t skip;                /**< steps at the start whose distributions are not wanted; `dist` has (T - skip)*B rows */
    size_t detach;              /**< backward: no gradient reaches steps before this one through the memory (burn-in) */
} bp_unroll;

/** Resolve field names and sizes. @return BP_ERR_CONFIG / BP_ERR_ABI (cookie), BP_ERR_FIELD (unknown name),
 *  BP_ERR_ARGUMENT (bad number); the text says which. Thread safe. */
BPRIOR_API bp_status bp_policy_init(bp_policy *policy, const bp_spec *spec, const bp_policy_config *config,
                                    bp_error *error);
/** One level of two: a low level (`high` false: acts, sees z [latent_size] beside its fields), or a high level (`high` true: its
 *  "action" is a Gaussian z [latent_size]; an autoregressive one also sees the z before). Errors as bp_policy_init(). */
BPRIOR_API bp_status bp_policy_init_level(bp_policy *policy, const bp_spec *spec, const bp_policy_config *config,
                                          size_t latent_size, bool high, bool autoregressive, bp_error *error);
/** Fresh parameters [n_params]. */
BPRIOR_API void bp_policy_init_params(bp_real *params, const bp_policy *policy, bp_rng *rng);
/** Named part i < n_views of the parameter vector: the layers "0/w", "0/b", ...; with memory also "h/w" (recurrent), "head/w", "head/b". */
BPRIOR_API void bp_policy_view(bp_view *out, const bp_policy *policy, size_t i);
/** Multiply-adds of one forward pass over T steps of B sequences. */
BPRIOR_API size_t bp_policy_macs(const bp_policy *policy, size_t T, size_t B);

/** Numbers that bp_policy_unroll_forward() saves for T steps of B sequences. */
BPRIOR_API size_t bp_policy_unroll_saved_reals(const bp_policy *policy, size_t T, size_t B);
/** Scratch numbers that the unroll functions need for T steps of B sequences. */
BPRIOR_API size_t bp_policy_unroll_work_reals(const bp_policy *policy, size_t T, size_t B);
/** Distributions of the steps from `skip` on; nothing saved. @param dist [(T-skip)*B*dist_size]
 *  @param state_out [B][state_size] the state after the last step (may be in->state), or NULL */
BPRIOR_API void bp_policy_unroll_eval(const bp_compute *c, bp_real *dist, bp_real *state_out, bp_real *work, const bp_unroll *in,
                                      const bp_real *params, const bp_policy *policy);
/** As bp_policy_unroll_eval(), saving what backward needs in `saved` (bp_policy_unroll_saved_reals()); the same bits. */
BPRIOR_API void bp_policy_unroll_forward(const bp_compute *c, bp_real *dist, bp_real *saved, const bp_unroll *in,
                                         const bp_real *params, const bp_policy *policy);
/** Backpropagation, through time where there is memory (E35): dparams += and dlatent +=, given ddist = d loss / d dist.
 *  @param dparams [n_params] or NULL @param dlatent [T*B][Z] or NULL @param ddist as dist @param in as in forward */
BPRIOR_API void bp_policy_unroll_backward(const bp_compute *c, bp_real *dparams, bp_real *dlatent, const bp_real *saved,
                                          bp_real *work, const bp_real *ddist, const bp_real *dist, const bp_unroll *in,
                                          const bp_real *params, const bp_policy *policy);

/** Numbers that bp_policy_forward() saves for n rows. */
BPRIOR_API size_t bp_policy_saved_reals(const bp_policy *policy, size_t n);
/** Scratch numbers that eval, forward and backward need for n rows. */
BPRIOR_API size_t bp_policy_work_reals(const bp_policy *policy, size_t n);
/** Distributions of n rows that have nothing to do with each other (a memory starts from zeros in each); nothing saved.
 *  @param rows which rows of observation, or NULL for 0..n-1.
 *  @param dist [n*dist_size] @param work bp_policy_work_reals(n) @param observation [*][O] */
BPRIOR_API void bp_policy_eval(const bp_compute *c, bp_real *dist, bp_real *work, const bp_real *observation,
                               const size_t *rows, const bp_real *params, const bp_policy *policy, size_t n);
/** As bp_policy_eval(), saving what bp_policy_backward() needs in `saved` (bp_policy_saved_reals(n)). */
BPRIOR_API void bp_policy_forward(const bp_compute *c, bp_real *dist, bp_real *saved, const bp_real *observation,
                                  const size_t *rows, const bp_real *params, const bp_policy *policy, size_t n);
/** dparams += d loss / d params, given ddist = d loss / d dist (same layout as dist). */
BPRIOR_API void bp_policy_backward(const bp_compute *c, bp_real *dparams, const bp_real *saved, bp_real *work,
                                   const bp_real *ddist, const bp_real *dist, const bp_real *params,
                                   const bp_policy *policy, size_t n);
/** Draw actions [n][action_size]; log_prob [n] may be NULL. Gaussian actions are *not* clipped: the
 *  environment clips, so that log_prob stays exact (what Retrace needs). */
BPRIOR_API void bp_policy_sample(bp_real *action, bp_real *log_prob, bp_rng *rng, const bp_real *dist,
                                 const bp_policy *policy, size_t n);
/** The mean, or the most probable choice: what evaluation uses. */
BPRIOR_API void bp_policy_mode(bp_real *action, const bp_real *dist, const bp_policy *policy, size_t n);
/** log_prob [n] of given actions [n][action_size] (E32, E33). */
BPRIOR_API void bp_policy_log_prob(bp_real *log_prob, const bp_real *action, const bp_real *dist,
                                   const bp_policy *policy, size_t n);
/** entropy [n] in nats, closed form. */
BPRIOR_API void bp_policy_entropy(bp_real *entropy, const bp_real *dist, const bp_policy *policy, size_t n);
/** ddist += dentropy [n] * d entropy / d dist. */
BPRIOR_API void bp_policy_entropy_backward(bp_real *ddist, const bp_real *dentropy, const bp_real *dist,
                                           const bp_policy *policy, size_t n);
/** kl [n] = KL[dist || dist0] in nats, closed form. Policy and prior must have the same output kind and size. */
BPRIOR_API void bp_policy_kl(bp_real *kl, const bp_real *dist, const bp_real *dist0, const bp_policy *policy,
                             size_t n);
/** ddist (nullable) and ddist0 (nullable) += dkl [n] * d KL / d (dist, dist0). */
BPRIOR_API void bp_policy_kl_backward(bp_real *ddist, bp_real *ddist0, const bp_real *dkl, const bp_real *dist,
                                      const bp_real *dist0, const bp_policy *policy, size_t n);
/** dist0 [n*dist_size] = N(0, std^2 I) (Gaussian) or equal logits: the parameter-free priors of E8. */
BPRIOR_API void bp_policy_isotropic(bp_real *dist0, double std, const bp_policy *policy, size_t n);

/* ---- one level or two ------------------------------------------------------ */

/** How a high level draws its latent z_t (E29). */
typedef enum bp_high_kind {
    BP_HIGH_LEARNED = 0,    /**< Gaussian from a network of what it sees (with or without memory); a policy's high level always is */
    BP_HIGH_AUTOREGRESSIVE, /**< the same, and the network also sees the z before (zeros at the start of an episode) */
    BP_HIGH_ISOTROPIC,      /**< N(0, I) whatever happens */
    BP_HIGH_AR1             /**< N(phi z_{t-1}, (1 - phi^2) I): z drifts; N(0, I) at the start of an episode, and so always on the whole */
} bp_high_kind;

/** What kinds of two-level policies and priors there are. Start from bp_latent_config_default(). */
typedef struct bp_latent_config {
    uint32_t cookie;             /**< set by the default function */
    size_t size;                 /**< Z: numbers in the latent; 0: one level, and nothing below matters (default) */
    bp_policy_config high;       /**< pi^H(z|x): default all fields, 64-64, mean not squashed, std 1 at the start */
    bp_high_kind prior_kind;     /**< of pi0^H (default LEARNED) */
    bp_policy_config high_prior; /**< pi0^H(z|x^D): used by LEARNED and AUTOREGRESSIVE; default as `high` */
    double phi;                  /**< AR1: correlation of successive latents, in (-1, 1) (default .95) */
    size_t hold;                 /**< z is redrawn every so many steps, and at the start of each episode; 0: only there; <= 2^24. Default 1 */
    bool shared_low;             /**< E28: policy and prior share the low level, so that the whole KL is between latents (default true).
                                      false: the learner's `prior` configures a low-level prior of its own */
    bool critic_sees_latent;     /**< Q(a,z,x) (default true), else Q(a,x) */
    bool joint_ratio;            /**< E30: learn about the z that was acted on (kept in replay; ratio of (z,a)), not about one
                                      redrawn from the policy (ratio of a given it). Default false: the paper's Algorithm 2 */
} bp_latent_config;
/** @internal */
BPRIOR_API bp_latent_config bp_latent_config_make(uint32_t cookie, size_t size);
/** Defaults for a latent of this many numbers. */
#define bp_latent_config_default(size) bp_latent_config_make(BP_COOKIE(bp_latent_config), size)

/** The part of it that acting needs: plain data. */
typedef struct bp_latent {
    size_t size; /**< Z; 0: one level */
    size_t hold; /**< steps between draws; 0: once an episode */
    double phi;  /**< AR1's correlation */
} bp_latent;

/** Anything that acts, borrowed from whoever owns it: a policy, or a prior played by itself. */
typedef struct bp_behavior {
    const bp_policy *policy;    /**< pi^L(a|z,x); of one level: pi(a|x) */
    const bp_real *params;      /**< [policy->n_params] */
    bp_latent latent;           /**< size 0: one level, and the rest is not read */
    bp_high_kind high_kind;     /**< where z comes from */
    const bp_policy *high;      /**< LEARNED, AUTOREGRESSIVE */
    const bp_real *high_params; /**< [high->n_params] */
} bp_behavior;

/** Numbers of state that acting carries from step to step; all zero at the start of an episode:
 *
 *     high level's memory | low level's memory | z [Z] | steps that z has been used, 0: there is none yet
 *
 *  (the last two only with two levels); 0 for a policy without memory and latent. */
BPRIOR_API size_t bp_behavior_state_size(const bp_behavior *behavior);
/** Scratch numbers for bp_behavior_act(). */
BPRIOR_API size_t bp_behavior_work_reals(const bp_behavior *behavior);
/** Does the latent with this age have to be drawn anew? @param age steps it has been used; 0: there is none */
BPRIOR_API bool bp_latent_due(const bp_latent *latent, double age);
/** Act once (E23): advance the memories, draw z if it is due, draw the action.
 *  @param action [action_size] @param log_prob its log-probability given z, or NULL
 *  @param log_latent log-probability of z: 0 when it was not drawn in this step, or NULL
 *  @param dist [policy->dist_size] out: the action's distribution @param state [bp_behavior_state_size()] in and out
 *  @param work [bp_behavior_work_reals()] @param rng NULL: best action and mean z, nothing is drawn
 *  @param observation [O] */
BPRIOR_API void bp_behavior_act(const bp_compute *c, bp_real *action, bp_real *log_prob, bp_real *log_latent, bp_real *dist,
                                bp_real *state, bp_real *work, bp_rng *rng, const bp_real *observation,
                                const bp_behavior *behavior);

#define BP_TENSOR_NAME 96 /**< longest tensor name with its NUL */
/** A named matrix inside somebody's parameter array: what files are made of. */
typedef struct bp_tensor {
    char name[BP_TENSOR_NAME]; /**< e.g. "policy/online/0/w" */
    size_t rows, cols;         /**< shape; vectors have rows 1 */
    bp_real *data;             /**< [rows][cols], not owned */
} bp_tensor;
/** @} */

/* ==========================================================================
 * 16. >>replay   Replay of sequences
 *    provides: bp_sequence_*  bp_replay_*  bp_batch_*      needs: 1-3
 *    equations: the data that E19-E22 are averages over
 * ========================================================================== */
/** @defgroup bp_replay 16. Replay of sequences
 *
 * Off-policy learning with Retrace needs pieces of trajectory with the probability that the behavior
 * policy gave to each action. One stored *sequence* has T rows and T+1 observations:
 *
 *     row      0        1        2  ...   T-1      (T)
 *     x_t     x_0      x_1      x_2      x_{T-1}   x_T      the last one only to bootstrap from
 *     a_t, r_t, d_t, log mu(a_t|x_t), mask_t       per row
 *
 * Sequences follow each other without gap, and trajectories may end inside one. After the last step of
 * an episode comes one *boundary row*: it holds the final observation (which a truncated episode still
 * bootstraps from), takes no action and is masked out of every loss; the next row begins the next
 * episode. The trace is cut there (E19).
 *
 *     x_5 a_5 r_5 d_5 | x_6 = final, mask 0 | x_0 a_0 r_0 d_0 of the next episode | ...
 *
 * d is the *environment's* discount: 0 at a termination, 1 otherwise and at a truncation.
 * @{ */

/** Sizes of a replay. Start from bp_replay_config_default(). */
typedef struct bp_replay_config {
    uint32_t cookie;         /**< set by the default function */
    size_t capacity;         /**< sequences kept; the oldest is overwritten (default 1000; >= 1) */
    size_t length;           /**< T >= 1 (default 10) */
    size_t observation_size; /**< O >= 1 */
    size_t action_size;      /**< A >= 1 */
    size_t latent_size;      /**< Z: numbers of a latent kept per step (default 0) */
    size_t state_size;       /**< numbers kept per sequence: the actor's state before row 0 (default 0); bp_rs0.state_size */
} bp_replay_config;
/** @internal */
BPRIOR_API bp_replay_config bp_replay_config_make(uint32_t cookie, const bp_spec *spec);
/** Defaults for environments with this spec. */
#define bp_replay_config_default(spec) bp_replay_config_make(BP_COOKIE(bp_replay_config), spec)

/** One sequence under construction: each actor owns one. Arrays belong to the object. */
typedef struct bp_sequence {
    size_t length, observation_size, action_size; /**< T, O, A */
    size_t filled;                                /**< rows written so far, 0..T */
    size_t bytes;                                 /**< of the block below */
    bp_real *data;                                /**< the block: the five arrays that follow, contiguous */
    bp_real *observation;                         /**< [T+1][O] */
    bp_real *action;                              /**< [T][A] */
    bp_real *reward;                              /**< [T] */
    bp_real *discount;                            /**< [T] */
    bp_real *log_mu;                              /**< [T] */
    bp_real *mask;                                /**< [T] 1 = a real step, 0 = boundary row */
    size_t latent_size, state_size;               /**< Z and the numbers of the state, both 0 for policies without */
    bp_real *latent;                              /**< [T][Z] the latent that was acted on */
    bp_real *state;                               /**< [state_size] what the actor remembered before row 0 */
} bp_sequence;

/** Numbers one sequence holds: (T+1) O + T (A + 4 + Z) + state_size. */
BPRIOR_API size_t bp_sequence_reals(const bp_replay_config *config);
/** Lay a sequence over `data` [bp_sequence_reals]. */
BPRIOR_API void bp_sequence_init(bp_sequence *sequence, bp_real *data, const bp_replay_config *config);
/** Start the stream: x_0 [O]. Drops what was there. */
BPRIOR_API void bp_sequence_begin(bp_sequence *sequence, const bp_real *observation);
/** Append one step taken in the newest observation. next_observation [O]. Must not be full. With a latent_size, write the latent
 *  into row `filled` of `latent` before. */
BPRIOR_API void bp_sequence_add(bp_sequence *sequence, const bp_real *action, bp_real log_mu, bp_real reward,
                                bp_real discount, const bp_real *next_observation);
/** Append the boundary row of an episode that ended in the newest observation; reset_observation [O] begins the next. */
BPRIOR_API void bp_sequence_boundary(bp_sequence *sequence, const bp_real *reset_observation);
/** All T rows written? */
BPRIOR_API bool bp_sequence_full(const bp_sequence *sequence);
/** After inserting a full sequence: its last observation becomes the first of the next one. */
BPRIOR_API void bp_sequence_carry(bp_sequence *sequence);

/** A ring of sequences. Not thread safe: one writer or reader at a time. */
typedef struct bp_replay {
    bp_replay_config config; /**< as given */
    size_t count;            /**< sequences stored, <= capacity */
    size_t next;             /**< slot that the next insert overwrites */
    uint64_t inserted;       /**< sequences ever inserted */
    size_t stride;           /**< numbers per sequence: bp_sequence_reals() */
    bp_owner owner;          /**< where the memory came from */
    bp_real *data;           /**< [capacity][stride]; within a slot the layout of bp_sequence */
} bp_replay;

/** Exact bytes of a replay with this configuration, the struct included. */
BPRIOR_API bp_status bp_replay_size(const bp_replay_config *config, size_t *bytes, bp_error *error);
/** The largest capacity that fits into `bytes`; 0 if none does. */
BPRIOR_API size_t bp_replay_capacity_for(const bp_replay_config *config, size_t bytes);
/** Build in caller's memory (64-byte aligned, bp_replay_size() bytes). */
BPRIOR_API bp_status bp_replay_init(bp_replay **out, void *memory, size_t bytes, const bp_replay_config *config,
                                    bp_error *error);
/** Allocate and build. @return BP_ERR_ARGUMENT (zero capacity...), BP_ERR_SIZE, BP_ERR_MEMORY. */
BPRIOR_API bp_status bp_replay_create(bp_replay **out, const bp_replay_config *config, const bp_allocator *allocator,
                                      bp_error *error);
/** Free what bp_replay_create() made; NULL is fine. */
BPRIOR_API void bp_replay_destroy(bp_replay *replay);
/** Copy a full sequence in, overwriting the oldest when full. @return BP_ERR_SIZE if shapes differ or it is not full. */
BPRIOR_API bp_status bp_replay_insert(bp_replay *replay, const bp_sequence *sequence, bp_error *error);

/** A minibatch, time first. Arrays belong to whoever laid it out. */
typedef struct bp_batch {
    size_t length, batch, observation_size, action_size; /**< T, B, O, A */
    bp_real *observation;                                /**< [T+1][B][O] */
    bp_real *action;                                     /**< [T][B][A] (categorical: A = 1, the index) */
    bp_real *reward;                                     /**< [T][B] */
    bp_real *discount;                                   /**< [T][B] environment discount, not yet times gamma */
    bp_real *log_mu;                                     /**< [T][B] log-probability under the behavior policy */
    bp_real *mask;                                       /**< [T][B] 1 = in the losses; a masked row's numbers must
                                                              still be finite, or the step is refused */
    size_t latent_size, state_size;                      /**< as in bp_sequence */
    bp_real *latent;                                     /**< [T][B][Z] */
    bp_real *state;                                      /**< [B][state_size] before row 0 */
} bp_batch;
/** Numbers a batch of sequences of this shape holds (capacity is not read). */
BPRIOR_API size_t bp_batch_reals(const bp_replay_config *config, size_t batch_size);
/** Lay a batch over `data` [bp_batch_reals()]. */
BPRIOR_API void bp_batch_init(bp_batch *batch, bp_real *data, const bp_replay_config *config, size_t batch_size);
/** Fill a batch with sequences drawn uniformly with replacement. @return BP_ERR_EMPTY if there are none,
 *  BP_ERR_SIZE if shapes differ. */
BPRIOR_API bp_status bp_replay_sample(bp_batch *batch, const bp_replay *replay, bp_rng *rng, bp_error *error);
/** @} */

/* ==========================================================================
 * 17. >>retrace   Retrace with soft values
 *    provides: bp_retrace*      needs: 1, 4      equations: E6 E19
 * ========================================================================== */
/** @defgroup bp_retrace 17. Retrace
 * @{ */
/** Trace coefficients c_t = lambda * min(1, exp(log_pi_t - log_mu_t)), 0 on boundary rows (E19).
 *  All arrays [T][B]. A difference that is NaN gives NaN, which the learner reports; -inf gives 0, +inf lambda. */
BPRIOR_API void bp_retrace_trace(bp_real *c, const bp_real *log_pi, const bp_real *log_mu, const bp_real *mask,
                                 double lambda, size_t T, size_t B);
/** Retrace targets by the backward recursion of E19.
 *  @param target [T][B] out  @param reward [T][B]  @param discount [T][B] gamma times the environment's discount
 *  @param value [T+1][B] soft values V_t; row 0 is not read  @param q [T][B] Q(x_t,a_t) of the stored actions
 *  @param c [T][B] traces; row 0 is not read. Rows of boundary steps get a number that no loss may use. */
BPRIOR_API void bp_retrace(bp_real *target, const bp_real *reward, const bp_real *discount, const bp_real *value,
                           const bp_real *q, const bp_real *c, size_t T, size_t B);
/** The same by Munos et al.'s double sum, O(T^2): readable, slow, the oracle of bp_retrace(). */
BPRIOR_API void bp_retrace_reference(bp_real *target, const bp_real *reward, const bp_real *discount,
                                     const bp_real *value, const bp_real *q, const bp_real *c, size_t T, size_t B);
/** @} */

/* ==========================================================================
 * 18. >>learner   The SVG(0)/Retrace learner
 *    provides: bp_rs0_*      needs: 1-8, 9, 11, 13, 14, 16, 17
 *    equations: E4 E6 E8 E10 E14 E17 E18 E19 E20 E21 E22 E27 E28 E29 E30 E35
 * ========================================================================== */
/** @defgroup bp_learner 18. The SVG(0)/Retrace learner
 *
 * Three networks learn side by side from replayed sequences; each has a slowly moving *target* copy
 * (written with a prime):
 *
 *     critic   1/2 (Q(x_t,a_t) - Q^ret_t)^2                                        E20
 *     policy   -Q'(x_t, pi(x_t,eps)) + alpha KL[pi || pi0'] - c_H H[pi]            E21
 *     prior    KL[pi || pi0], with pi held fixed                                   E22
 *
 * and Q^ret is Retrace (E19) on soft values V_t = E_pi'[Q'] - alpha KL[pi' || pi0'] (E6). One call of
 * bp_rs0_step() does all three once. It is a pure function of (parameters, batch, random state): same
 * input, same bits, for any number of threads.
 *
 * The special cases of E8 are configuration: see ::bp_prior_kind. With categorical actions the
 * expectation over actions is exact (all K choices are put to the critic, weighted by pi), so that
 * neither sampling nor reparameterisation is needed.
 *
 * **Actions are canonical**: the spec's box must be [-1,1] (bp_env_rescale_actions() makes it so). The
 * critic sees clipped actions, as the environment does.
 *
 * **Memory** (E35). Policy, prior and critic may each have an LSTM. A sequence begins in the middle of an episode, so the
 * learner needs to know what was remembered before its first row: ::bp_memory_start says where that comes from. Each copy of a network
 * (online, target) is then run over all T+1 rows; where an episode begins inside a sequence its memory is zeroed.
 *
 * **Two levels** (E27-E30). With `latent.size` = Z > 0 the policy is pi^L(a|z,x) pi^H(z|x), and the KL of E4 is replaced by its
 * upper bound, KL of the high levels + KL of the low levels (none if the low level is shared). As in the paper's
 * Algorithm 2, learning draws its own z_t = f^H(x_t, eps_t) in every row; gradients pass through z into the action and into the low
 * levels' KL, but not through the critic's own z, nor through z_{t-1} of an autoregressive prior, which is history like any other
 * observation. What each ratio estimates: given its noise eps the redrawn policy is the flat policy pi^L(a|f^H(x,eps),x), and
 * the trace compares that with the low level that acted; with latent.joint_ratio (z,a) counts as the action,
 * the stored z is used throughout, and the ratio is exact for that larger action space. The entropy of E21 is the low level's.
 * @{ */

/** Which copy of the policy an expectation uses (E19: the paper's box says online, the authors' code target). */
typedef enum bp_rs0_source {
    BP_SOURCE_TARGET = 0, /**< default */
    BP_SOURCE_ONLINE
} bp_rs0_source;

/** How a penalty weight moves. */
typedef enum bp_weight_mode {
    BP_WEIGHT_SCHEDULED = 0, /**< follows a bp_schedule; a constant schedule = fixed */
    BP_WEIGHT_ADAPTED        /**< rises and falls to meet a target */
} bp_weight_mode;

/** What a network with memory starts a sequence from. */
typedef enum bp_memory_start {
    BP_MEMORY_STORED = 0, /**< what the actor's copy remembered when it was there (default). Stale by as many steps as the
                               sequence is old, but never far off. Actors also run the prior's and the critic's memory */
    BP_MEMORY_ZERO        /**< nothing. With burn_in the first rows refill it; without, the memory reaches no further back than
                               the sequence does */
} bp_memory_start;

/** Everything a learner can be told. Start from bp_rs0_config_default(). */
typedef struct bp_rs0_config {
    uint32_t cookie; /**< set by the default function */

    bp_policy_config policy;  /**< pi (default: authors' settings, 64-64) */
    bp_policy_config prior;   /**< pi0: used by LEARNED and FIXED; its fields are x^D (E14) */
    bp_prior_kind prior_kind; /**< default BP_PRIOR_NONE */
    double prior_std;         /**< BP_PRIOR_ISOTROPIC: standard deviation (default 1) */
    bp_latent_config latent;  /**< two levels: `policy` is then the low level, prior_kind NONE, LEARNED or FIXED, and `prior` the
                                    low-level prior if it is not shared. FIXED with a shared low level freezes that, too. Default:
                                    size 0, one level */

    size_t n_critic_fields;                   /**< fields the critic sees (default 1: "*") */
    const char *critic_fields[BP_MAX_FIELDS]; /**< by name */
    size_t critic_layers;                     /**< hidden layers (default 2) */
    size_t critic_width[BP_MAX_LAYERS];       /**< default 64 */
    bp_activation critic_activation;          /**< default ELU */
    bool critic_layer_norm;                   /**< default true */
    size_t critic_lstm;                       /**< units of an LSTM over what the critic sees; its h joins the observation. 0: none (default) */
    double critic_output_scale;               /**< last layer's initial weights (default 1e-4: near zero) */
    bool twin_critics;                        /**< two critics, the smaller one believed (default false) */

    size_t n_tasks;           /**< > 1: one policy per task, prior and critic shared (E10). Default 1 */
    char task_field[BP_NAME]; /**< the one-hot field that tells the task (default "task") */

    bp_memory_start memory_start; /**< where memories begin a sequence (default STORED) */
    size_t burn_in;               /**< rows at the start of a sequence that only fill the memories: no loss, no gradient; < length (default 0) */

    size_t batch;               /**< B sequences (default 256) */
    size_t length;              /**< T rows each (default 10) */
    size_t samples;             /**< S action samples per state (default 10); categorical: ignored, all K are used */
    double discount;            /**< gamma in [0,1] (default .99) */
    double lambda;              /**< Retrace's lambda in [0,1] (default 1) */
    bp_rs0_source value_source; /**< whose samples and trace ratio (default TARGET) */
    bp_rs0_source kl_source;    /**< whose KL enters V (default TARGET; the authors' code: ONLINE) */

    bp_weight_mode alpha_mode;   /**< default SCHEDULED */
    bp_schedule alpha;           /**< weight of the KL, reward units per nat (default constant 1e-3);
                                    its value at step 0 is where ADAPTED starts */
    double kl_target;            /**< ADAPTED: nats per step that the KL may cost (default 1) */
    double alpha_lr;             /**< ADAPTED: step size of log alpha (default 1e-3) */
    bp_weight_mode entropy_mode; /**< default SCHEDULED */
    bp_schedule entropy_cost;    /**< c_H (default constant 1e-3) */
    double entropy_target;       /**< ADAPTED: nats to keep (default 0) */
    double entropy_lr;           /**< ADAPTED: step size of log c_H (default 1e-3) */

    bp_adam_config policy_adam, prior_adam, critic_adam; /**< default lr 1e-4 each, no clipping */
    size_t target_period;                                /**< copy all targets every so many steps (default 100); ignored if tau > 0 */
    double tau;                                          /**< > 0: Polyak averaging every step instead (default 0) */

    size_t shards;    /**< fixed pieces the batch is cut into: the unit of parallel work, and part of the
                            result's definition (default 2; 1 .. B) */
    bp_kernel kernel; /**< default BP_KERNEL_AUTO */
    uint64_t seed;    /**< of the initial parameters (default 1) */
} bp_rs0_config;
/** @internal */
BPRIOR_API bp_rs0_config bp_rs0_config_make(uint32_t cookie);
/** The authors' released settings (equations.md E), with 64-64 networks and no prior. */
#define bp_rs0_config_default() bp_rs0_config_make(BP_COOKIE(bp_rs0_config))

/** What a step reports: X(name, meaning). All are means over the batch's unmasked rows. */
#define BP_RS0_METRICS(X)                                                                  \
    X(critic_loss, "E20, mean of 1/2 (Q - Q^ret)^2 (sum of both when twin)")               \
    X(policy_loss, "E21")                                                                  \
    X(prior_loss, "E22, KL[pi||pi0] to the online prior, nats; 0 unless it is LEARNED")    \
    X(kl, "KL[pi||pi0'] of the online policy to the target prior, nats")                   \
    X(kl_high, "the high levels' part of kl; 0 with one level")                            \
    X(entropy, "H[pi], nats")                                                              \
    X(q_mean, "mean Q(x,a) of stored actions, first critic")                               \
    X(q_std, "its standard deviation over the batch")                                      \
    X(target_mean, "mean Retrace target")                                                  \
    X(td_abs, "mean |Q - Q^ret|")                                                          \
    X(value_mean, "mean soft value V_{t+1}")                                               \
    X(trace_mean, "mean c over rows t >= 1")                                               \
    X(policy_std, "mean standard deviation of pi (Gaussian)")                              \
    X(alpha, "weight of the KL used in this step")                                         \
    X(entropy_cost, "c_H used in this step")                                               \
    X(critic_grad_norm, "before clipping")                                                 \
    X(policy_grad_norm, "before clipping")                                                 \
    X(prior_grad_norm, "before clipping")

/** The numbers of the newest step, by name. */
typedef struct bp_rs0_metrics {
#define BPI_X(name, meaning) double name; /**< see BP_RS0_METRICS */
    BP_RS0_METRICS(BPI_X)
#undef BPI_X
} bp_rs0_metrics;
/** How many metrics there are. */
BPRIOR_API size_t bp_rs0_metric_count(void);
/** Name of metric i. */
BPRIOR_API const char *bp_rs0_metric_name(size_t i);
/** Value of metric i. */
BPRIOR_API double bp_rs0_metric_value(const bp_rs0_metrics *metrics, size_t i);

/** Online, target, gradient and Adam moments of one network (or several of one shape, back to back). */
typedef struct bp_learned {
    size_t n;                 /**< numbers in each array */
    bp_real *online, *target; /**< [n] */
    bp_real *grad;            /**< [n] of the newest step */
    bp_real *m, *v;           /**< [n] Adam */
} bp_learned;

struct bpi_rs0_shard; /* working memory of one shard, private */

/** A learner. Read any field; change none while a step runs. One thread at a time. */
typedef struct bp_rs0 {
    bp_rs0_config config;             /**< resolved: what is really used. Field name pointers are cleared. */
    bp_spec spec;                     /**< the contract */
    bp_policy policy;                 /**< structure of pi (of each task's pi); of two levels the low one */
    bp_policy prior;                  /**< structure of pi0; of two levels the low one, if it is not shared */
    bp_policy high, high_prior;       /**< structure of pi^H and pi0^H */
    bp_latent latent;                 /**< size 0: one level */
    bp_mlp critic;                    /**< structure of Q: input = critic fields, then z, then h of its LSTM; extra = action */
    bp_rnn critic_rnn;                /**< its LSTM: input = critic fields; units 0: none */
    size_t state_size;                /**< numbers of state that acting carries: bp_rs0_act() */
    bp_field_set critic_fields;       /**< what Q sees */
    bp_field_set task;                /**< the task field when n_tasks > 1 */
    bp_learned policy_p;              /**< n = n_tasks * policy.n_params; two levels: high.n_params + policy.n_params, in this order */
    bp_learned prior_p;               /**< n = 0 unless LEARNED or FIXED; two levels: high_prior, then prior, as far as they exist */
    bp_learned critic_p;              /**< n = (1 or 2) * (critic.n_params + critic_rnn.n_params) */
    uint64_t steps;                   /**< steps done */
    uint64_t rejected;                /**< steps undone because something was not finite */
    bp_dual alpha_dual, entropy_dual; /**< state of ADAPTED weights */
    bp_rs0_metrics metrics;           /**< of the newest step */
    bp_real *target_noise;            /**< [T+1][B][S][A] standard normals for V_t (row t = 0 unused) */
    bp_real *policy_noise;            /**< [T][B][S][A] for the policy's samples */
    bp_real *target_latent_noise;     /**< [T+1][B][Z] for the latents of V_t and of the critic */
    bp_real *policy_latent_noise;     /**< [T][B][Z] for the latents of the policy loss */
    bp_real *value;                   /**< [T+1][B] soft values of the newest step */
    bp_real *q;                       /**< [C][T][B] Q of the stored actions, C critics */
    bp_real *trace;                   /**< [T][B] */
    bp_real *retrace;                 /**< [T][B] targets */
    bp_real *discount;                /**< [T][B] gamma * environment discount */
    struct bpi_rs0_shard *shard;      /**< [config.shards] */
    bp_owner owner;                   /**< where the memory came from */
} bp_rs0;

/** Bytes of a learner for this spec. */
BPRIOR_API bp_status bp_rs0_size(const bp_spec *spec, const bp_rs0_config *config, size_t *bytes, bp_error *error);
/** Build in caller's memory (64-byte aligned). */
BPRIOR_API bp_status bp_rs0_init(bp_rs0 **out, void *memory, size_t bytes, const bp_spec *spec,
                                 const bp_rs0_config *config, bp_error *error);
/** Allocate and build; parameters are initialised from config.seed, targets equal them. */
BPRIOR_API bp_status bp_rs0_create(bp_rs0 **out, const bp_spec *spec, const bp_rs0_config *config,
                                   const bp_allocator *allocator, bp_error *error);
/** Free; NULL is fine. */
BPRIOR_API void bp_rs0_destroy(bp_rs0 *learner);
/** One step on one batch; draws its noise from rng. @param team threads that share the work, or NULL.
 *  @return BP_ERR_NONFINITE: a loss or gradient was not finite; parameters, moments and weights are as
 *  before, `rejected` has grown, and the text names the loss. BP_ERR_SIZE: the batch does not fit. */
BPRIOR_API bp_status bp_rs0_step(bp_rs0 *learner, const bp_batch *batch, bp_rng *rng, bp_team *team,
                                 bp_error *error);
/** The same with the noise already in target_noise, policy_noise and the two of the latents (tests, oracles). */
BPRIOR_API bp_status bp_rs0_step_with_noise(bp_rs0 *learner, const bp_batch *batch, bp_team *team,
                                            bp_error *error);
/** Losses and gradients only: nothing is updated. */
BPRIOR_API bp_status bp_rs0_gradients(bp_rs0 *learner, const bp_batch *batch, bp_team *team, bp_error *error);
/** Multiply-adds of one step, the first layer's state part counted once per state. */
BPRIOR_API uint64_t bp_rs0_macs(const bp_rs0 *learner);
/** The parameters that act in this observation [O]: the task's own block when there are several. `params` is
 *  policy_p.online, .target, or a copy of one. The task is the largest entry of the task field. */
BPRIOR_API const bp_real *bp_rs0_policy_params(const bp_rs0 *learner, const bp_real *params,
                                               const bp_real *observation);
/** Whose actions. */
typedef enum bp_rs0_who {
    BP_PLAY_POLICY = 0, /**< online policy */
    BP_PLAY_TARGET,     /**< target policy */
    BP_PLAY_PRIOR       /**< online prior (LEARNED and FIXED only): what has it learned by itself? */
} bp_rs0_who;
/** What acts in this observation [O] (which matters only with several tasks), by its newest parameters. Borrowed.
 *  @return BP_ERR_UNSUPPORTED: the prior has no parameters */
BPRIOR_API bp_status bp_rs0_behavior(bp_behavior *out, const bp_rs0 *learner, bp_rs0_who who, const bp_real *observation,
                                     bp_error *error);
/** Scratch numbers for bp_rs0_act(). */
BPRIOR_API size_t bp_rs0_act_work_reals(const bp_rs0 *learner);
/** What an actor does in one step, with parameters of its own: choose an action, and advance all memories, also those that only
 *  learning needs (BP_MEMORY_STORED).
 *  @param action [action_size] @param log_mu what replay keeps: log-probability of the action given z; of (z, action) with joint_ratio
 *  @param state [state_size] in and out; zeros at the start of an episode. The behavior's part comes first: bp_behavior_state_size()
 *  @param work [bp_rs0_act_work_reals()] @param observation [O] @param policy,prior,critic parameters [policy_p.n], [prior_p.n],
 *  [critic_p.n]; the last two may be NULL when neither has memory @return the latent, inside `state` [Z]; NULL with one level */
BPRIOR_API const bp_real *bp_rs0_act(const bp_compute *c, bp_real *action, bp_real *log_mu, bp_real *state, bp_real *work,
                                     bp_rng *rng, const bp_real *observation, const bp_real *policy, const bp_real *prior,
                                     const bp_real *critic, const bp_rs0 *learner);
/** Replay that holds what this learner needs, for sequences of its length (capacity at its default). */
BPRIOR_API bp_replay_config bp_rs0_replay_config(const bp_rs0 *learner);
/** Use a prior trained elsewhere: copies `params` [prior.n_params] to online and target. @return BP_ERR_SIZE */
BPRIOR_API bp_status bp_rs0_set_prior(bp_rs0 *learner, const bp_real *params, size_t n, bp_error *error);
/** Number of named tensors of the learner's whole state. */
BPRIOR_API size_t bp_rs0_tensor_count(const bp_rs0 *learner);
/** Tensor i: "policy/online/0/w", "policy/target/...", "policy/adam_m/...", "policy/adam_v/...", then the same for
 *  "prior" and "critic"; further tasks and critics are "policy.1/...", "critic.1/...". High levels are "policy_high" and "prior_high",
 *  a critic's LSTM is "critic_lstm". */
BPRIOR_API void bp_rs0_tensor(bp_tensor *out, const bp_rs0 *learner, size_t i);
/** @} */

/* ==========================================================================
 * 19. >>runs   Actors and training runs
 *    provides: bp_run_*      needs: 1-4, 9, 14, 16, 18 and the files of 20
 *    equations: the loop around E19-E22
 * ========================================================================== */
/** @defgroup bp_runs 19. Actors and training runs
 *
 * A run ties the pieces together: actors play, replay remembers, the learner learns, logs tell, checkpoints
 * keep. One *round* of a synchronous run is
 *
 *     1. act       each of N actors fills one sequence of T rows, several at a time if there are threads
 *     2. store     sequences go into replay in the actors' order; so does what the normaliser learns
 *     3. learn     ratio * (sequences inserted - min_sequences) / batch learner steps in all are due by now
 *     4. tell      evaluation, a CSV row, a checkpoint, when their time has come
 *
 * **Repeatable.** Nothing in a round depends on a clock or on which thread did what: each actor has its own
 * environment and random stream, episode k of actor i starts from bp_seed_mix(seed, i, k), and sums are made
 * in the actors' order. The same configuration gives the same bits with any number of threads, and a run that was
 * killed at any moment and resumed ends with the same bits as one that was never stopped. Only the column
 * `seconds` of progress.csv, always the last, and the TensorBoard file hold clock readings.
 *
 * *Asynchronous* mode lets actors run freely in their own threads while the learner learns; a limiter
 * with condition variables keeps samples and inserts at the set ratio, both ways. It is what the paper did, it is
 * faster when environments are slow, and it is not repeatable.
 *
 * **Random streams** of the seed: 1 the learner's noise, 2 replay sampling, 3 evaluation with sampled actions,
 * 1000 + i actor i.
 *
 * **When things go wrong.** An environment that returns an error, NaN or infinity has its episode ended at the
 * last good step and is reset; the episode counts in `faults`, not in the returns; too many faults stop the run. A
 * learner step whose loss is not finite is undone and counted; too many of those stop the run, too. A stopped run
 * leaves its newest checkpoint alone.
 *
 * @code
 * bp_run_config config = bp_run_config_default();
 * config.envs = bp_pendulum_maker(NULL);
 * config.directory = "out";
 * config.env_steps = 50000;
 * bp_run *run; bp_error error;
 * bp_status status = bp_run_create(&run, &config, NULL, &error);
 * if (status == BP_OK) status = bp_run_train(run, &error);
 * if (status < 0) fprintf(stderr, "%s\n", error.text);
 * bp_run_destroy(run);
 * @endcode
 * @{ */

/** Who waits for whom. */
typedef enum bp_run_mode {
    BP_RUN_SYNC = 0, /**< rounds in a fixed order: repeatable */
    BP_RUN_ASYNC     /**< free-running actor threads: needs BPRIOR_THREADS; not repeatable */
} bp_run_mode;

/** Everything a run can be told. Start from bp_run_config_default(), then set at least `envs`. */
typedef struct bp_run_config {
    uint32_t cookie;       /**< set by the default function */
    bp_env_maker envs;     /**< makes environment 0 .. actors-1 for the actors and number `actors` for evaluation.
                                Continuous actions are rescaled to [-1,1] here; do not do it yourself */
    bp_rs0_config learner; /**< its `length` is also the actors' T. Default bp_rs0_config_default() */
    uint64_t seed;         /**< of acting, sampling and evaluation (default 1); learner.seed is of the weights */
    bp_run_mode mode;      /**< default BP_RUN_SYNC */
    size_t actors;         /**< N >= 1 (default 1) */
    size_t threads;        /**< that share acting (SYNC) and learning; 1 .. 256 (default 1). Never changes a SYNC result.
                                Without BPRIOR_THREADS: 1, with a warning in the log */

    uint64_t env_steps;     /**< stop after the round that reaches so many (default 100000) */
    uint64_t learner_steps; /**< stop when so many are done; 0: no such limit (default) */

    size_t replay_capacity;    /**< sequences (default 100000; at O = 3, T = 10 that is 33 MB) */
    size_t min_sequences;      /**< collected before learning starts (default 1000, the authors') */
    double samples_per_insert; /**< how often each sequence is sampled on average (default 32, the authors').
                                    Higher: more learning per step of the environment, slower, staler */
    bool normalise;            /**< observations pass a running normaliser, whose numbers go into checkpoint and policy file;
                         the task field of a multi-task learner is exempt (default false) */

    uint64_t evaluate_every;    /**< environment steps; 0: never (default 10000). Also at step 0 and at the end */
    size_t evaluation_episodes; /**< each time, always with the same seeds (default 10). Episodes must end by
                                      themselves: see bp_env_time_limit() */
    bool evaluation_stochastic; /**< sample actions instead of taking the best ones (default false) */
    uint64_t log_every;         /**< environment steps per CSV row (default 1000); 0: only the last */
    uint64_t checkpoint_every;  /**< environment steps; 0: only on interrupt and at the end (default 100000) */

    const char *directory; /**< for all files, made if absent; NULL: write none (default). Copied */
    bool resume;           /**< go on from the checkpoint in `directory`; if there is none, start (default false) */
    bool overwrite;        /**< without resume: may an unfinished checkpoint be discarded? (default false: refuse) */
    bool tensorboard;      /**< also write an event file (default false) */

    size_t max_faults;   /**< of environments before the run stops (default 100) */
    size_t max_rejected; /**< learner steps undone before the run stops (default 1000) */

    bp_logger log; /**< messages; SYNC: in the thread that calls the run; ASYNC: also in actors' threads, one at a time */
    /** The status line: text ready to be written as it is. NULL: none. On a terminal it begins with "\r" and so
     *  overwrites itself. */
    void (*status)(void *ctx, const char *text);
    void *status_ctx;    /**< handed to status */
    bool terminal;       /**< is it a terminal? (isatty(2) is yours to ask) false: whole lines, seldom (default) */
    double status_every; /**< seconds between status lines; < 0: .25 on a terminal, 10 elsewhere (default -1) */
    /** Asked at least once per round: true makes bp_run_train() checkpoint and return BP_INTERRUPTED. NULL: never. */
    bool (*stop)(void *ctx);
    void *stop_ctx; /**< handed to stop */
} bp_run_config;
/** @internal */
BPRIOR_API bp_run_config bp_run_config_make(uint32_t cookie);
/** See the fields for the defaults. */
#define bp_run_config_default() bp_run_config_make(BP_COOKIE(bp_run_config))

/** Result of an evaluation. */
typedef struct bp_evaluation {
    size_t episodes;  /**< that ended without fault */
    size_t faults;    /**< that did not */
    double mean, std; /**< of the undiscounted returns (population standard deviation); NaN without episodes */
    double length;    /**< mean steps per episode */
} bp_evaluation;

struct bpi_run; /* private parts */

/** A run. Read any field between calls. */
typedef struct bp_run {
    bp_run_config config;     /**< as given, `directory` pointing to the run's own copy; learner.* names cleared */
    bp_spec spec;             /**< what the learner sees: actions in [-1,1] */
    bp_spec env_spec;         /**< what the environments say themselves */
    bp_rs0 *learner;          /**< yours to look at; bp_rs0_load_prior() goes here, before the first round */
    bp_replay *replay;        /**< sequences of raw (not normalised) observations */
    bp_normaliser normaliser; /**< size 0 without config.normalise */
    uint64_t env_steps;       /**< taken */
    uint64_t episodes;        /**< finished without fault */
    uint64_t rounds;          /**< done (ASYNC: learner rounds) */
    uint64_t faults;          /**< of environments */
    bp_evaluation evaluation; /**< newest scheduled evaluation */
    double recent_return;     /**< mean return of the episodes in the newest CSV row; NaN if none */
    bool done;                /**< nothing left but bp_run_finish() */
    bool finished;            /**< bp_run_finish() has been done */
    bool resumed;             /**< it began from a checkpoint */
    double seconds;           /**< spent, over all its lives */
    struct bpi_run *self;     /**< private */
} bp_run;

/** Build a run: environments, learner, replay, files. With `resume` it continues from the checkpoint.
 *  @return BP_ERR_CONFIG / BP_ERR_ABI (cookies), BP_ERR_ARGUMENT (the text names the field), BP_ERR_FIELD, BP_ERR_MEMORY,
 *  BP_ERR_IO, BP_ERR_FORMAT (damaged checkpoint), BP_ERR_MISMATCH (checkpoint of other environments or settings; the text
 *  names the first difference), BP_ERR_UNSUPPORTED (ASYNC without BPRIOR_THREADS). After an error *out is NULL, and no file of an
 *  earlier run has changed. */
BPRIOR_API bp_status bp_run_create(bp_run **out, const bp_run_config *config, const bp_allocator *allocator,
                                   bp_error *error);
/** Free everything; does not save. NULL is fine. */
BPRIOR_API void bp_run_destroy(bp_run *run);
/** One round. After the last one run->done is true and further calls do nothing.
 *  @return BP_ERR_ENV (too many faults), BP_ERR_NONFINITE (too many rejected steps), BP_ERR_IO */
BPRIOR_API bp_status bp_run_round(bp_run *run, bp_error *error);
/** After the last round: last evaluation, last row, checkpoint, policy files. Once is enough. */
BPRIOR_API bp_status bp_run_finish(bp_run *run, bp_error *error);
/** Rounds until done, then finish. @return BP_INTERRUPTED after a stop request: the state has been saved
 *  and a run created with `resume` goes on from there. Otherwise as bp_run_round(). */
BPRIOR_API bp_status bp_run_train(bp_run *run, bp_error *error);
/** Save now. Without a directory nothing happens. */
BPRIOR_API bp_status bp_run_checkpoint(bp_run *run, bp_error *error);
/** Play episodes in the evaluation environment: the result depends on the arguments and the weights only, and nothing
 *  in the run changes. Episode k starts from a seed made of `seed` and k. @param returns [episodes] or NULL; NaN where faulty
 *  @return BP_ERR_UNSUPPORTED: there is no prior with parameters; BP_ERR_ENV: every episode was faulty */
BPRIOR_API bp_status bp_run_evaluate(bp_evaluation *out, double *returns, bp_run *run, bp_rs0_who who, size_t episodes,
                                     uint64_t seed, bool stochastic, bp_error *error);
/** Write the online policy (BP_PLAY_PRIOR: the prior) as a file for bp_agent_load(). */
BPRIOR_API bp_status bp_run_export(const bp_run *run, bp_rs0_who who, const char *path, bp_error *error);
/** @} */

/* ==========================================================================
 * 20. >>files   Files and logs
 *    provides: bp_file_* bp_crc32c bp_safetensors_* bp_policy_save bp_agent_* bp_rs0_load_prior
 *              bp_csv_* bp_events_* bp_status_line
 *    needs: 1-4, 9, 13, 14, 18        equations: none
 * ========================================================================== */
/** @defgroup bp_files 20. Files and logs
 *
 * **What is on disk**, in the directory of a run:
 *
 *     progress.csv              one row per log interval, opens everywhere
 *     events.out.tfevents.*     the same for TensorBoard, if asked for
 *     policy.safetensors        what you ship: weights, contract, normaliser; prior.safetensors likewise
 *     checkpoint/               everything needed to go on (chapter 19)
 *
 * **Weights** are in the safetensors format: eight bytes with the length of a JSON header, the header,
 * the numbers. Python reads it with `safetensors.numpy.load_file("policy.safetensors")`.
 *
 * **A file is either the old one or the new one**, never half of each: bp_file_begin() opens a temporary name beside
 * the target, bp_file_commit() flushes it to the disk and renames it over the target. When the disk is full
 * or the directory may not be written, you get BP_ERR_IO with the path and the system's reason, and the
 * old file is still there.
 *
 * **A file is not trusted.** The reader survives any bytes whatsoever: each is either a valid file or an
 * error status with a sentence. No size from a file is used before it has been checked against the size
 * of the file itself, so a hostile header cannot make the reader allocate more than a small multiple of what is there.
 *
 * Numbers in text files have a decimal point whatever the program's locale says.
 * @{ */

#define BP_PATH 1024 /**< longest path with its NUL */

/* ---- whole files, atomically ---------------------------------------------- */

/** A file being written under a temporary name. Plain data; lives on the caller's stack. */
typedef struct bp_file {
    char path[BP_PATH];          /**< the final name */
    char temporary[BP_PATH + 8]; /**< the name until commit: path + ".tmp" */
    void *stream;                /**< private */
    uint64_t bytes;              /**< written so far */
    uint32_t crc;                /**< bp_crc32c() of them */
    bool open;                   /**< between begin and commit or abort */
    bp_status status;            /**< the first failure; later writes do nothing */
    bp_error error;              /**< its text */
    size_t buffered;             /**< private */
    unsigned char buffer[4096];  /**< private */
} bp_file;

/** Start writing `path`. @return BP_ERR_IO, BP_ERR_ARGUMENT (path too long). */
BPRIOR_API bp_status bp_file_begin(bp_file *file, const char *path, bp_error *error);
/** Append bytes. A failure is remembered, so that only the commit need be looked at. */
BPRIOR_API bp_status bp_file_write(bp_file *file, const void *data, size_t bytes);
/** Flush, force to disk, rename. After a failure the temporary is gone and the old file untouched. */
BPRIOR_API bp_status bp_file_commit(bp_file *file, bp_error *error);
/** Drop what was written. Fine after commit. */
BPRIOR_API void bp_file_abort(bp_file *file);
/** Make a directory and its parents; one that exists is fine. */
BPRIOR_API bp_status bp_file_make_directory(const char *path, bp_error *error);
/** CRC-32C (Castagnoli), continued from `crc` (0 at the start). Check value: "123456789" -> 0xE3069283. */
BPRIOR_API uint32_t bp_crc32c(uint32_t crc, const void *data, size_t bytes);

/* ---- safetensors ---------------------------------------------------------- */

/** Type of a stored number. The reader indexes all of these and converts F32 and F64. */
typedef enum bp_dtype {
    BP_DTYPE_F32 = 0,
    BP_DTYPE_F64,
    BP_DTYPE_U64,
    BP_DTYPE_U8,
    BP_DTYPE_BOOL,
    BP_DTYPE_I8,
    BP_DTYPE_I16,
    BP_DTYPE_U16,
    BP_DTYPE_F16,
    BP_DTYPE_BF16,
    BP_DTYPE_I32,
    BP_DTYPE_U32,
    BP_DTYPE_I64,
    BP_DTYPE_F8_E5M2,
    BP_DTYPE_F8_E4M3,
    BP_DTYPE_COUNT_ /**< not a type */
} bp_dtype;
/** The type that bp_real is in this build. */
#define BP_DTYPE_REAL (sizeof(bp_real) == 8 ? BP_DTYPE_F64 : BP_DTYPE_F32)
/** "F32" etc. */
BPRIOR_API const char *bp_dtype_name(bp_dtype dtype);
/** Bytes of one number. */
BPRIOR_API size_t bp_dtype_size(bp_dtype dtype);

/** One array to be written. */
typedef struct bp_array {
    char name[BP_TENSOR_NAME]; /**< unique in the file */
    bp_dtype dtype;            /**< F32, F64, U64 or U8 */
    size_t rows, cols;         /**< rows 0 means a vector: shape [cols]; else shape [rows, cols] */
    const void *data;          /**< [rows*cols] in this machine's byte order */
} bp_array;
/** A bp_array over a tensor; vectors (rows 1) keep both dimensions. */
BPRIOR_API bp_array bp_array_tensor(const bp_tensor *tensor);
/** A bp_array over any numbers. Names that are too long are cut. */
BPRIOR_API bp_array bp_array_of(const char *name, bp_dtype dtype, size_t rows, size_t cols, const void *data);

/** One line of the file's `__metadata__`. */
typedef struct bp_text {
    const char *key, *value; /**< both NUL-terminated UTF-8; written escaped */
} bp_text;

/** Describes array i for bp_safetensors_write_from(): called twice for each i, must answer the same both times. */
typedef void (*bp_array_source)(void *ctx, size_t i, bp_array *out);

/** Write arrays and metadata as one safetensors file, atomically. @param crc nullable: the file's bp_crc32c()
 *  @param bytes nullable: its size. @return BP_ERR_IO, BP_ERR_SIZE, BP_ERR_ARGUMENT (type that is not written) */
BPRIOR_API bp_status bp_safetensors_write(const char *path, const bp_array *arrays, size_t n_arrays,
                                          const bp_text *texts, size_t n_texts, uint32_t *crc, uint64_t *bytes,
                                          bp_error *error);
/** The same with arrays that are described one by one, so that no list of them is needed. */
BPRIOR_API bp_status bp_safetensors_write_from(const char *path, bp_array_source source, void *ctx, size_t n_arrays,
                                               const bp_text *texts, size_t n_texts, uint32_t *crc, uint64_t *bytes,
                                               bp_error *error);

#define BP_MAX_DIMS 8 /**< most dimensions the reader accepts */
/** One array of an opened file. */
typedef struct bp_stored {
    const char *name;          /**< belongs to the file object */
    bp_dtype dtype;            /**< type on disk */
    size_t n_dims;             /**< 0 .. BP_MAX_DIMS */
    size_t shape[BP_MAX_DIMS]; /**< sizes */
    size_t count;              /**< product of the shape: checked not to overflow */
    size_t begin, end;         /**< bytes, counted from the end of the header; end - begin = count * size of a number */
} bp_stored;

/** An opened file: the index is in memory, the numbers stay where they are. One thread at a time. */
typedef struct bp_safetensors {
    size_t n;                    /**< arrays */
    bp_stored *array;            /**< [n] sorted by name */
    size_t n_texts;              /**< metadata entries */
    bp_text *text;               /**< [n_texts] in file order */
    char path[BP_PATH];          /**< for messages; "memory" if opened from memory */
    const unsigned char *memory; /**< private: all bytes, or NULL */
    void *stream;                /**< private: the open file, or NULL */
    size_t bytes;                /**< size of the file */
    size_t data;                 /**< where the numbers begin */
    char *header;                /**< private: the JSON text, decoded in place */
    size_t header_bytes;         /**< private */
    size_t index_bytes;          /**< private */
    void *index;                 /**< private */
    bp_owner owner;              /**< private */
} bp_safetensors;

/** Open a file and check its header completely. @return BP_ERR_IO, BP_ERR_FORMAT with the place, BP_ERR_MEMORY */
BPRIOR_API bp_status bp_safetensors_open(bp_safetensors **out, const char *path, const bp_allocator *allocator,
                                         bp_error *error);
/** The same over bytes in memory, which must stay there until close. */
BPRIOR_API bp_status bp_safetensors_open_memory(bp_safetensors **out, const void *data, size_t bytes,
                                                const bp_allocator *allocator, bp_error *error);
/** Close; NULL is fine. */
BPRIOR_API void bp_safetensors_close(bp_safetensors *file);
/** An array by name, or NULL. */
BPRIOR_API const bp_stored *bp_safetensors_find(const bp_safetensors *file, const char *name);
/** A metadata value by key, or NULL. */
BPRIOR_API const char *bp_safetensors_text(const bp_safetensors *file, const char *key);
/** Copy out [n] numbers, F32 or F64 converted to bp_real. @return BP_ERR_MISMATCH (absent, other count, other type),
 *  BP_ERR_IO, BP_ERR_FORMAT (shorter than its header says) */
BPRIOR_API bp_status bp_safetensors_read_real(const bp_safetensors *file, const char *name, bp_real *out, size_t n,
                                              bp_error *error);
/** Copy out [n] doubles (from F32 or F64). Errors as bp_safetensors_read_real(). */
BPRIOR_API bp_status bp_safetensors_read_double(const bp_safetensors *file, const char *name, double *out, size_t n,
                                                bp_error *error);
/** Copy out [n] U64. */
BPRIOR_API bp_status bp_safetensors_read_u64(const bp_safetensors *file, const char *name, uint64_t *out, size_t n,
                                             bp_error *error);
/** Copy out [n] U8. */
BPRIOR_API bp_status bp_safetensors_read_bytes(const bp_safetensors *file, const char *name, void *out, size_t n,
                                               bp_error *error);
/** Fill tensor->data [rows][cols] with the array of the same name, whose shape must be [rows][cols] (or [cols] when
 *  rows is 1). @return BP_ERR_MISMATCH naming both shapes */
BPRIOR_API bp_status bp_safetensors_read_tensor(const bp_safetensors *file, const bp_tensor *tensor, bp_error *error);

/* ---- a policy to ship ----------------------------------------------------- */

/** What goes into a policy file. Zero it, then set behavior.policy, behavior.params and spec; with two levels all of behavior. */
typedef struct bp_policy_export {
    bp_behavior behavior;            /**< what acts: bp_rs0_behavior() gives it; params [tasks][policy->n_params] */
    const bp_spec *spec;             /**< the environment's contract with its *own* action box (not rescaled):
                                          bp_agent returns actions in these units */
    const bp_normaliser *normaliser; /**< of raw observations, or NULL */
    size_t n_tasks;                  /**< blocks in params; 0 and 1 both mean one */
    const char *task_field;          /**< with n_tasks > 1: the field that tells the task */
} bp_policy_export;

/** Write a policy (or a prior: it is the same thing) with its contract. */
BPRIOR_API bp_status bp_policy_save(const char *path, const bp_policy_export *what, bp_error *error);

/** A policy from a file, ready to act in your own loop: no learner, no replay, no allocation per call.
 *  @code
 *  bp_agent *agent; bp_error error;
 *  if (bp_agent_load(&agent, "policy.safetensors", NULL, &error)) { puts(error.text); return 1; }
 *  for (;;) { read_sensors(observation); bp_agent_act(agent, action, observation); drive_motors(action); }
 *  @endcode */
typedef struct bp_agent {
    bp_spec spec;                  /**< the contract: fields and the action box in the environment's units */
    bp_policy policy;              /**< structure; of two levels the low one */
    bp_policy high;                /**< the high one, where it is a network */
    bp_behavior behavior;          /**< all of it, pointing into this object */
    bp_normaliser normaliser;      /**< size 0: none */
    bp_compute compute;            /**< private */
    size_t n_tasks;                /**< >= 1 */
    size_t task_offset, task_size; /**< where the task is, when n_tasks > 1 */
    bp_real *params;               /**< [n_tasks][policy.n_params] */
    bp_real *high_params;          /**< [high.n_params] */
    bp_real *state;                /**< [bp_behavior_state_size()] what it remembers; zeroed by bp_agent_reset() */
    bp_real *observation;          /**< private [O] */
    bp_real *dist;                 /**< distribution of the newest call [dist_size], canonical units */
    bp_real *work;                 /**< private */
    bp_real *canonical;            /**< the newest action before it was scaled to the box [action_size] */
    void *block;                   /**< private */
    bp_owner owner;                /**< private */
} bp_agent;

/** Load. @return BP_ERR_IO, BP_ERR_FORMAT, BP_ERR_MISMATCH (not a policy file; another version), BP_ERR_NONFINITE (weights) */
BPRIOR_API bp_status bp_agent_load(bp_agent **out, const char *path, const bp_allocator *allocator, bp_error *error);
/** Load from bytes, e.g. linked into a firmware image. They may go afterwards. */
BPRIOR_API bp_status bp_agent_load_memory(bp_agent **out, const void *data, size_t bytes,
                                          const bp_allocator *allocator, bp_error *error);
/** Free; NULL is fine. */
BPRIOR_API void bp_agent_destroy(bp_agent *agent);
/** Begin an episode: forget everything. A policy without memory and latent has nothing to forget; calling it is always right. */
BPRIOR_API void bp_agent_reset(bp_agent *agent);
/** The policy's best action in this observation [O], in the environment's units and inside its box.
 *  @return BP_ERR_NONFINITE (the observation; action is untouched) */
BPRIOR_API bp_status bp_agent_act(bp_agent *agent, bp_real *action, const bp_real *observation);
/** A random action from the policy; log_prob (nullable) is that of agent->canonical. */
BPRIOR_API bp_status bp_agent_sample(bp_agent *agent, bp_real *action, bp_real *log_prob, const bp_real *observation,
                                     bp_rng *rng);
/** May this agent be used in that environment? @return BP_ERR_MISMATCH naming the first difference */
BPRIOR_API bp_status bp_agent_check(const bp_agent *agent, const bp_spec *spec, bp_error *error);

/** Use a saved policy or prior as the learner's prior (bp_rs0_set_prior()). The fields that the prior sees must
 *  have the same names and sizes in the same order, the actions and the layers must agree; the rest of the
 *  observation may differ: that is how a prior is carried to another task. Of two levels the latents must agree, too; a shared low
 *  level goes to the policy, online and target, where FIXED keeps it as it is.
 *  @return BP_ERR_MISMATCH naming the first difference; BP_ERR_UNSUPPORTED: the learner's prior is not of such a kind */
BPRIOR_API bp_status bp_rs0_load_prior(bp_rs0 *learner, const char *path, const bp_allocator *allocator,
                                       bp_error *error);

/* ---- logs ----------------------------------------------------------------- */

/** A CSV file that grows by rows. */
typedef struct bp_csv {
    char path[BP_PATH]; /**< for messages */
    void *stream;       /**< private */
    size_t columns;     /**< of every row */
    uint64_t bytes;     /**< size after the newest row */
} bp_csv;
/** Start a file with a header line (an old one is replaced), or with keep > 0 cut the existing one to its first
 *  `keep` bytes and append from there. @return BP_ERR_IO, BP_ERR_MISMATCH (shorter than keep, or other columns) */
BPRIOR_API bp_status bp_csv_open(bp_csv *csv, const char *path, const char *const *names, size_t columns,
                                 uint64_t keep, bp_error *error);
/** Append a row [columns] and flush. NaN is written as an empty cell; whole numbers without a point. */
BPRIOR_API bp_status bp_csv_row(bp_csv *csv, const double *values, bp_error *error);
/** Force what was written to the disk. */
BPRIOR_API bp_status bp_csv_sync(bp_csv *csv, bp_error *error);
/** Close; fine on a zeroed one. */
BPRIOR_API void bp_csv_close(bp_csv *csv);

/** A TensorBoard event file. */
typedef struct bp_events {
    char path[BP_PATH]; /**< for messages */
    void *stream;       /**< private */
    uint64_t bytes;     /**< size after the newest record */
} bp_events;
/** Start an event file, or continue one as bp_csv_open() does. @param wall_time seconds since 1970, of the first record */
BPRIOR_API bp_status bp_events_open(bp_events *events, const char *path, uint64_t keep, double wall_time,
                                    bp_error *error);
/** One scalar at a step. NaN and infinities are written as they are. */
BPRIOR_API bp_status bp_events_scalar(bp_events *events, const char *tag, uint64_t step, double value,
                                      double wall_time, bp_error *error);
/** Flush, and force to disk. */
BPRIOR_API bp_status bp_events_sync(bp_events *events, bp_error *error);
/** Close; fine on a zeroed one. */
BPRIOR_API void bp_events_close(bp_events *events);

/** What a status line says. NaN entries are left out. */
typedef struct bp_progress {
    uint64_t done, total;    /**< environment steps */
    double steps_per_second; /**< recent */
    double episode_return;   /**< training episodes since the last log row */
    double evaluation;       /**< newest evaluation */
    double kl;               /**< nats */
    double seconds_left;     /**< estimate */
} bp_progress;
/** Format "  12000/50000  24%  8312/s  return -312.4  eval -150.2  kl 0.132  eta 0:04:41" into line [capacity].
 *  @return its length without NUL, always < capacity. */
BPRIOR_API size_t bp_status_line(char *line, size_t capacity, const bp_progress *progress);
/** @} */

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* BPRIOR_H */

/* ############################################################################
 *  IMPLEMENTATION: outside the include guard, with its own once-guard, so the
 *  macro works wherever the first plain include happened to be.
 * ############################################################################ */
#if defined(BPRIOR_IMPLEMENTATION) && !defined(BPRIOR_IMPLEMENTED)
#define BPRIOR_IMPLEMENTED

/* ==========================================================================
 * 1. >>status-impl   Configuration and status
 *    provides: bpi_fail bpi_ok bpi_check_cookie, the BPI_ macros
 *    needs: nothing        equations: none
 * ========================================================================== */

#if !defined(BPRIOR_ALLOW_FAST_MATH)
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "bprior: -ffast-math breaks NaN checks and repeatability; drop it, or define BPRIOR_ALLOW_FAST_MATH"
#endif
#endif

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From here to the end of the implementation no compiler may turn a*b+c into one rounding by itself: the sums below must
 * have the same bits everywhere. Where a fused multiply-add is wanted (the matrix kernels), it is asked for by name. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif

#if defined(__GNUC__) || defined(__clang__)
#define BPI_UNUSED_FN __attribute__((unused))
#define BPI_RESTRICT __restrict__
#define BPI_ALWAYS_INLINE static inline __attribute__((always_inline, unused))
#define BPI_NOINLINE static __attribute__((noinline, unused))
#define BPI_LIKELY(x) __builtin_expect(!!(x), 1)
#define BPI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#elif defined(__TINYC__)
#define BPI_UNUSED_FN __attribute__((unused))
#define BPI_RESTRICT
#define BPI_ALWAYS_INLINE static inline
#define BPI_NOINLINE static
#define BPI_LIKELY(x) (x)
#define BPI_UNLIKELY(x) (x)
#elif defined(_MSC_VER)
#define BPI_UNUSED_FN
#define BPI_RESTRICT __restrict
#define BPI_ALWAYS_INLINE static __forceinline
#define BPI_NOINLINE static __declspec(noinline)
#define BPI_LIKELY(x) (x)
#define BPI_UNLIKELY(x) (x)
#else
#define BPI_UNUSED_FN
#define BPI_RESTRICT
#define BPI_ALWAYS_INLINE static inline
#define BPI_NOINLINE static
#define BPI_LIKELY(x) (x)
#define BPI_UNLIKELY(x) (x)
#endif

/* A private function; the attribute keeps compilers quiet in builds that happen not to call it. */
#define BPI_FN static BPI_UNUSED_FN
#define BPI_INLINE static inline BPI_UNUSED_FN
#define BPI_UNUSED(x) ((void)(x))

/* Instruction sets for which there is code of their own. It is compiled by function attributes, whatever the flags of the
 * build, and chosen when the program runs. */
#if !defined(BPRIOR_NO_SIMD) && (defined(__GNUC__) || defined(__clang__)) && !defined(__TINYC__)
#if defined(__x86_64__)
#define BPI_X86 1
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define BPI_NEON 1
#endif
#endif

#ifdef BPI_X86
#include <immintrin.h>
#define BPI_AVX2_ATTR __attribute__((target("avx2,fma")))
#define BPI_AVX512_ATTR __attribute__((target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")))
/* 3: AVX-512, 2: AVX2 and FMA, 1: neither. The compiler's own table, which also asks the operating system. */
BPI_FN int bpi_cpu_level(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
               ? 3
               : 2;
}
#endif

/* The 'printf' archetype of MinGW means Microsoft's; %zu needs the other one. */
#if defined(__clang__) || defined(__TINYC__)
#define BPI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#elif defined(__GNUC__)
#define BPI_PRINTF(fmt, args) __attribute__((format(gnu_printf, fmt, args)))
#else
#define BPI_PRINTF(fmt, args)
#endif

/* libm by scalar type. exp, log, tanh and softplus are missing on purpose: chapter 4 has its own, same bits everywhere. */
#ifdef BPRIOR_DOUBLE
#define bpi_sqrt sqrt
#define bpi_fabs fabs
#define bpi_floor floor
#define bpi_fmin fmin
#define bpi_fmax fmax
#define bpi_sin sin
#define bpi_cos cos
#define bpi_pow pow
#define BPI_REAL_MAX DBL_MAX
#define BPI_REAL_EPSILON DBL_EPSILON
#else
#define bpi_sqrt sqrtf
#define bpi_fabs fabsf
#define bpi_floor floorf
#define bpi_fmin fminf
#define bpi_fmax fmaxf
#define bpi_sin sinf
#define bpi_cos cosf
#define bpi_pow powf
#define BPI_REAL_MAX FLT_MAX
#define BPI_REAL_EPSILON FLT_EPSILON
#endif

/* x - x is 0 for finite x and NaN for the rest; needs no header and no builtin. */
BPI_INLINE bool bpi_finite(bp_real x) { return x - x == BP_R(0); }
BPI_INLINE bool bpi_finite_d(double x) { return x - x == 0.0; }

BPI_INLINE size_t bpi_min_size(size_t a, size_t b) { return a < b ? a : b; }
BPI_INLINE size_t bpi_max_size(size_t a, size_t b) { return a > b ? a : b; }

BPRIOR_API const char *bp_status_str(bp_status status) {
    switch (status) {
#define BPI_STATUS_CASE(name, value, text) \
    case name: return text;
        BP_STATUS_LIST(BPI_STATUS_CASE)
#undef BPI_STATUS_CASE
    case BP_STATUS_LAST_: break;
    }
    return "unknown status";
}

BPRIOR_API const char *bp_version(void) { return BPRIOR_VERSION; }

BPRIOR_API size_t bp_real_size(void) { return sizeof(bp_real); }

/* Fill e (if there is one) with s and a formatted sentence; return s, so that failing is one statement:
 *     return bpi_fail(error, BP_ERR_SIZE, "bp_x: %zu rows do not fit", rows);
 * vsnprintf terminates what it cuts, and sets the text to "" should it fail itself. */
BPI_FN BPI_PRINTF(3, 4) bp_status bpi_fail(bp_error *e, bp_status s, const char *fmt, ...) {
    if (e) {
        va_list args;
        e->status = s;
        e->text[0] = '\0';
        va_start(args, fmt);
        if (vsnprintf(e->text, sizeof e->text, fmt, args) < 0) e->text[0] = '\0';
        va_end(args);
        e->text[sizeof e->text - 1] = '\0';
    }
    return s;
}

BPI_FN bp_status bpi_ok(bp_error *e) {
    if (e) {
        e->status = BP_OK;
        e->text[0] = '\0';
    }
    return BP_OK;
}

/* Compare the cookie in a caller's struct with the one this file computes, and name the difference. */
BPI_FN bp_status bpi_check_cookie(uint32_t got, uint32_t want, const char *type, bp_error *e) {
    if (got == want) return BP_OK;
    if ((got & 0xF0000000u) != 0xB0000000u)
        return bpi_fail(e, BP_ERR_CONFIG, "%s was not filled by %s_default()", type, type);
    if ((got ^ want) & 0x08000000u)
        return bpi_fail(e, BP_ERR_ABI, "%s: caller was compiled with a %d-byte bp_real, library with %d bytes", type,
                        got & 0x08000000u ? 8 : 4, want & 0x08000000u ? 8 : 4);
    if ((got ^ want) & 0x07FF0000u)
        return bpi_fail(e, BP_ERR_ABI, "%s: caller was compiled with version %u.%u, library is %u.%u", type,
                        (unsigned)(got >> 24) & 7u, (unsigned)(got >> 16) & 255u, (unsigned)(want >> 24) & 7u,
                        (unsigned)(want >> 16) & 255u);
    return bpi_fail(e, BP_ERR_ABI, "%s: caller's struct has %u bytes, library's has %u (modulo 65536)", type,
                    (unsigned)(got & 0xFFFFu), (unsigned)(want & 0xFFFFu));
}

/* One formatted line to a logger that may be NULL or empty. */
BPI_FN BPI_PRINTF(3, 4) void bpi_log_line(const bp_logger *log, int level, const char *fmt, ...) {
    char text[512];
    va_list args;
    if (!log || !log->fn) return;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof text, fmt, args) < 0) text[0] = '\0';
    va_end(args);
    text[sizeof text - 1] = '\0';
    log->fn(log->ctx, level, text);
}

/* ==========================================================================
 * 2. >>memory-impl   Memory
 *    provides: bp_alloc bp_free bp_arena
 *    needs: 1        equations: none
 * ========================================================================== */

#if defined(__SANITIZE_ADDRESS__)
#define BPI_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BPI_ASAN 1
#endif
#endif

#ifdef BPI_ASAN
#include <sanitizer/asan_interface.h>
#define BPI_POISON(p, n) __asan_poison_memory_region((p), (n))
#define BPI_UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#define BPI_RED_ZONE ((size_t)64)
#else
#define BPI_POISON(p, n) ((void)(p), (void)(n))
#define BPI_UNPOISON(p, n) ((void)(p), (void)(n))
#define BPI_RED_ZONE ((size_t)0)
#endif

BPRIOR_API bool bp_size_mul(size_t *out, size_t a, size_t b) {
    if (a != 0 && b > SIZE_MAX / a) {
        *out = SIZE_MAX;
        return false;
    }
    *out = a * b;
    return true;
}

BPRIOR_API bool bp_size_add(size_t *out, size_t a, size_t b) {
    if (b > SIZE_MAX - a) {
        *out = SIZE_MAX;
        return false;
    }
    *out = a + b;
    return true;
}

/* Bytes from p up to the next multiple of BP_ALIGN. */
BPI_INLINE size_t bpi_align_gap(const void *p) {
    return (size_t)((BP_ALIGN - (uintptr_t)p % BP_ALIGN) % BP_ALIGN);
}

/* C99 has no aligned malloc, so ask for more, step up to the boundary, and keep the address that free() wants in the
 * pointer-sized slot just below the block:
 *
 *     raw ... [raw address] | block ......... | slack
 *                            ^ multiple of BP_ALIGN        */
BPI_FN void *bpi_aligned_malloc(size_t bytes) {
    size_t total;
    unsigned char *raw, *block;
    void *address;
    if (!bp_size_add(&total, bytes, BP_ALIGN + sizeof(void *))) return NULL;
    raw = (unsigned char *)malloc(total);
    if (!raw) return NULL;
    block = raw + sizeof(void *);
    block += bpi_align_gap(block);
    address = raw;
    memcpy(block - sizeof(void *), &address, sizeof address);
    BPI_POISON(block + bytes, total - bytes - (size_t)(block - raw));
    return block;
}

BPI_FN void bpi_aligned_free(void *block) {
    void *address;
    memcpy(&address, (unsigned char *)block - sizeof(void *), sizeof address);
    free(address);
}

BPRIOR_API void *bp_alloc(const bp_allocator *allocator, size_t bytes) {
    void *p;
    size_t n = bytes ? bytes : 1; /* some allocators answer 0 bytes with NULL, which would look like failure */
    p = allocator ? allocator->alloc(allocator->ctx, n, BP_ALIGN) : bpi_aligned_malloc(n);
    if (p) memset(p, 0, n);
    return p;
}

BPRIOR_API void bp_free(const bp_allocator *allocator, void *ptr, size_t bytes) {
    size_t n = bytes ? bytes : 1;
    if (!ptr) return;
    BPI_UNPOISON(ptr, n);
    if (allocator) allocator->free(allocator->ctx, ptr, n);
    else bpi_aligned_free(ptr);
}

BPRIOR_API bp_arena bp_arena_make(void *mem, size_t bytes) {
    bp_arena a;
    a.base = (unsigned char *)mem;
    a.size = mem ? bytes : SIZE_MAX;
    a.used = mem ? bpi_align_gap(mem) : BP_ALIGN; /* counting must allow for the worst address */
    a.overflow = a.used > a.size;
    return a;
}

BPRIOR_API void *bp_arena_take(bp_arena *arena, size_t count, size_t elem_size) {
    size_t bytes, padded, end;
    unsigned char *p;
    if (arena->overflow) return NULL;
    if (!bp_size_mul(&bytes, count, elem_size) || !bp_size_add(&padded, bytes, BP_ALIGN - 1) ||
        !bp_size_add(&end, arena->used, (padded -= padded % BP_ALIGN)) || !bp_size_add(&end, end, BPI_RED_ZONE) ||
        end > arena->size) {
        arena->overflow = true;
        return NULL;
    }
    p = arena->base ? arena->base + arena->used : NULL;
    arena->used = end;
    if (!p) return NULL;
    BPI_UNPOISON(p, padded + BPI_RED_ZONE); /* the block may have held another object before */
    memset(p, 0, bytes);
    BPI_POISON(p + bytes, padded - bytes + BPI_RED_ZONE);
    return p;
}

BPRIOR_API bp_real *bp_arena_real(bp_arena *arena, size_t n) {
    return (bp_real *)bp_arena_take(arena, n, sizeof(bp_real));
}

BPRIOR_API void bp_arena_unpoison(void *mem, size_t bytes) {
    BPI_UNPOISON(mem, bytes);
    BPI_UNUSED(mem);
    BPI_UNUSED(bytes);
}

/* Remember in an object that bp_alloc(allocator, bytes) made it ... */
BPI_FN void bpi_own(bp_owner *owner, const bp_allocator *allocator, size_t bytes) {
    owner->bytes = bytes;
    owner->custom = allocator != NULL;
    if (allocator) owner->allocator = *allocator;
}

/* ... and give it back. The owner is copied out first: it lives inside what is freed. */
BPI_FN void bpi_disown(const bp_owner *owner, void *object) {
    const bp_owner copy = *owner;
    if (copy.bytes) bp_free(copy.custom ? &copy.allocator : NULL, object, copy.bytes);
}

/* ==========================================================================
 * 3. >>random-impl   Random numbers
 *    provides: bp_rng_* bp_philox bp_seed_mix bpi_log_double
 *    needs: 1        equations: none
 * ========================================================================== */

/* Ten rounds; each multiplies two words by odd constants into 64 bits and crosses over the halves:
 *
 *     (hi0, lo0) = M0 * c0      c' = ( hi1 ^ c1 ^ k0,  lo1,  hi0 ^ c3 ^ k1,  lo0 )
 *     (hi1, lo1) = M1 * c2      k' = ( k0 + W0, k1 + W1 )
 *
 * W0 and W1 are the golden ratio and sqrt(3) - 1 in 32-bit fixed point. */
#define BPI_PHILOX_M0 0xD2511F53u
#define BPI_PHILOX_M1 0xCD9E8D57u
#define BPI_PHILOX_W0 0x9E3779B9u
#define BPI_PHILOX_W1 0xBB67AE85u

BPRIOR_API void bp_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    int round;
    for (round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)BPI_PHILOX_M0 * c0;
        uint64_t p1 = (uint64_t)BPI_PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += BPI_PHILOX_W0;
        k1 += BPI_PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* Block number `index` of the stream. */
BPI_FN void bpi_rng_block(uint32_t out[4], const bp_rng *rng, uint64_t index) {
    uint32_t counter[4], key[2];
    counter[0] = (uint32_t)index;
    counter[1] = (uint32_t)(index >> 32);
    counter[2] = (uint32_t)rng->stream;
    counter[3] = (uint32_t)(rng->stream >> 32);
    key[0] = (uint32_t)rng->seed;
    key[1] = (uint32_t)(rng->seed >> 32);
    bp_philox(out, counter, key);
}

BPRIOR_API bp_rng bp_rng_make(uint64_t seed, uint64_t stream) {
    bp_rng rng;
    memset(&rng, 0, sizeof rng); /* padding too: states are compared and saved as bytes */
    rng.seed = seed;
    rng.stream = stream;
    return rng;
}

BPRIOR_API uint32_t bp_rng_u32(bp_rng *rng) {
    if (rng->words_left == 0) {
        bpi_rng_block(rng->block, rng, rng->counter++);
        rng->words_left = 4;
    }
    return rng->block[4 - rng->words_left--];
}

BPRIOR_API uint64_t bp_rng_u64(bp_rng *rng) {
    uint64_t low = bp_rng_u32(rng); /* two statements: the order of two calls in one expression is not defined */
    return low | (uint64_t)bp_rng_u32(rng) << 32;
}

BPRIOR_API double bp_rng_uniform(bp_rng *rng) { return (double)(bp_rng_u64(rng) >> 11) * (1.0 / 9007199254740992.0); }

BPRIOR_API bp_real bp_rng_uniform_in(bp_rng *rng, bp_real lo, bp_real hi) {
    double u = bp_rng_uniform(rng);
    bp_real x = BP_R((double)lo * (1.0 - u) + (double)hi * u); /* this form cannot overflow where hi - lo would */
    if (x < lo) x = lo;
    if (x > hi) x = hi;
    return x;
}

/* ln x for a positive, normal, finite x, within one unit in the last place.
 *
 * Write x = (1 + f) 2^e with sqrt(1/2) <= 1 + f < sqrt(2), and s = f / (2 + f), so that |s| < 0.1716 and
 *
 *     ln(1 + f) = ln((1 + s) / (1 - s)) = 2 s (1 + s^2/3 + s^4/5 + ...) = 2 s + s R
 *
 * Eleven terms leave a remainder below 2^-55. Because 2 s = f - f^2/2 + s f^2/2 and f is exact, the form
 *
 *     ln(1 + f) = f - (f^2/2 - s (f^2/2 + R))
 *
 * only rounds in its small second part. ln 2 is split in two numbers, the first with so many zeros at its end that e
 * times it is exact. */
BPI_ALWAYS_INLINE double bpi_log_double(double x) {
    uint64_t bits, n;
    double m, f, s, z, p, half, e;
    memcpy(&bits, &x, sizeof bits);
    /* Adding this brings a carry into the exponent exactly where the mantissa reaches that of sqrt(1/2). */
    n = (bits + UINT64_C(0x00095F619980C434)) >> 52;
    bits -= (n - 1023u) << 52;
    memcpy(&m, &bits, sizeof m);
    /* n as a number: laid into the low bits of 2^52, which is then taken away. A loop over this can be vectorised even
     * where the CPU has no instruction to convert 64-bit integers. */
    n |= UINT64_C(0x4330000000000000);
    memcpy(&e, &n, sizeof e);
    e -= 4503599627370496.0 + 1023.0;
    f = m - 1.0;
    s = f / (2.0 + f);
    z = s * s;
    p = 2.0 / 23.0;
    p = p * z + 2.0 / 21.0;
    p = p * z + 2.0 / 19.0;
    p = p * z + 2.0 / 17.0;
    p = p * z + 2.0 / 15.0;
    p = p * z + 2.0 / 13.0;
    p = p * z + 2.0 / 11.0;
    p = p * z + 2.0 / 9.0;
    p = p * z + 2.0 / 7.0;
    p = p * z + 2.0 / 5.0;
    p = p * z + 2.0 / 3.0;
    p = p * z;
    half = 0.5 * f * f;
    return e * 6.93147180369123816490e-01 - ((half - (s * (half + p) + e * 1.90821492927058770002e-10)) - f);
}

/* yes if bit is 1, no if it is 0, without a branch. */
BPI_ALWAYS_INLINE double bpi_choose(uint32_t bit, double yes, double no) {
    uint64_t mask = (uint64_t)0 - (uint64_t)bit, y, n;
    double x;
    memcpy(&y, &yes, sizeof y);
    memcpy(&n, &no, sizeof n);
    y = (y & mask) | (n & ~mask);
    memcpy(&x, &y, sizeof x);
    return x;
}

/* Two independent standard normals from two words (Box and Muller, 1958). A point of the plane drawn from the
 * two-dimensional standard normal has a uniform angle and a radius whose square is exponential with mean 2:
 *
 *     u = (a + 1/2) / 2^32 in (0,1)     r = sqrt(-2 ln u)     phi = 2 pi b / 2^32     n0 = r cos phi, n1 = r sin phi
 *
 * The quadrant of phi is read off the integer b, so sine and cosine are only needed on [-pi/4, pi/4], where their
 * Taylor series to x^15 and x^16 are exact to the last bit or so. */
BPI_ALWAYS_INLINE double bpi_radius_squared(uint32_t a) {
    /* Words become doubles by way of signed integers, the only ones SSE2 and AVX2 can convert. */
    return -2.0 * bpi_log_double(((double)(int32_t)(a ^ 0x80000000u) + 2147483648.5) * (1.0 / 4294967296.0));
}

BPI_ALWAYS_INLINE void bpi_on_circle(double *n0, double *n1, double r, uint32_t b) {
    uint32_t turned = b + 0x20000000u, quadrant = turned >> 30;
    /* what is left after whole quadrants, in [-2^29, 2^29) */
    double x = (double)((int32_t)(turned & 0x3FFFFFFFu) - 0x20000000) * (6.28318530717958647693 / 4294967296.0);
    double z = x * x, s, c, sine, cosine;
    s = -1.0 / 1307674368000.0;
    s = s * z + 1.0 / 6227020800.0;
    s = s * z - 1.0 / 39916800.0;
    s = s * z + 1.0 / 362880.0;
    s = s * z - 1.0 / 5040.0;
    s = s * z + 1.0 / 120.0;
    s = s * z - 1.0 / 6.0;
    s = x + x * (s * z);
    c = 1.0 / 20922789888000.0;
    c = c * z - 1.0 / 87178291200.0;
    c = c * z + 1.0 / 479001600.0;
    c = c * z - 1.0 / 3628800.0;
    c = c * z + 1.0 / 40320.0;
    c = c * z - 1.0 / 720.0;
    c = c * z + 1.0 / 24.0;
    c = 1.0 + (c * (z * z) - 0.5 * z);
    /* phi = x + quadrant pi/2:  cos phi = c, -s, -c, s   sin phi = s, c, -s, -c */
    cosine = bpi_choose(quadrant & 1u, s, c);
    sine = bpi_choose(quadrant & 1u, c, s);
    *n0 = r * bpi_choose((quadrant + 1u) >> 1 & 1u, -cosine, cosine);
    *n1 = r * bpi_choose(quadrant >> 1, -sine, sine);
}

BPI_FN void bpi_box_muller(double *n0, double *n1, uint32_t a, uint32_t b) {
    bpi_on_circle(n0, n1, sqrt(bpi_radius_squared(a)), b);
}

BPRIOR_API bp_real bp_rng_normal(bp_rng *rng) {
    if (rng->normals_left == 0) {
        uint32_t w[4];
        bpi_rng_block(w, rng, rng->counter++);
        bpi_box_muller(&rng->normal[0], &rng->normal[1], w[0], w[1]);
        bpi_box_muller(&rng->normal[2], &rng->normal[3], w[2], w[3]);
        rng->normals_left = 4;
    }
    return BP_R(rng->normal[4 - rng->normals_left--]);
}

/* Eight blocks at once: the same operations as above in loops of eight, which the compiler turns into vector instructions.
 * Nothing rounds differently for being done side by side. Only the square root is taken by name, because the C function
 * may set errno and so cannot be vectorised. */
#define BPI_RNG_BLOCKS 8
typedef struct bpi_normal_lanes {
    uint32_t c[4][BPI_RNG_BLOCKS]; /* the words */
    double r[2][BPI_RNG_BLOCKS];   /* radii of the two pairs: squared, then not */
} bpi_normal_lanes;

BPI_ALWAYS_INLINE void bpi_normals_begin(bpi_normal_lanes *l, const bp_rng *rng) {
    uint32_t c0[BPI_RNG_BLOCKS], c1[BPI_RNG_BLOCKS], c2[BPI_RNG_BLOCKS], c3[BPI_RNG_BLOCKS];
    uint32_t k0 = (uint32_t)rng->seed, k1 = (uint32_t)(rng->seed >> 32);
    int j, round;
    for (j = 0; j < BPI_RNG_BLOCKS; j++) {
        const uint64_t index = rng->counter + (uint64_t)j;
        c0[j] = (uint32_t)index;
        c1[j] = (uint32_t)(index >> 32);
        c2[j] = (uint32_t)rng->stream;
        c3[j] = (uint32_t)(rng->stream >> 32);
    }
    for (round = 0; round < 10; round++) {
        for (j = 0; j < BPI_RNG_BLOCKS; j++) {
            uint64_t p0 = (uint64_t)BPI_PHILOX_M0 * c0[j];
            uint64_t p1 = (uint64_t)BPI_PHILOX_M1 * c2[j];
            c0[j] = (uint32_t)(p1 >> 32) ^ c1[j] ^ k0;
            c2[j] = (uint32_t)(p0 >> 32) ^ c3[j] ^ k1;
            c1[j] = (uint32_t)p1;
            c3[j] = (uint32_t)p0;
        }
        k0 += BPI_PHILOX_W0;
        k1 += BPI_PHILOX_W1;
    }
    for (j = 0; j < BPI_RNG_BLOCKS; j++) l->r[0][j] = bpi_radius_squared(c0[j]);
    for (j = 0; j < BPI_RNG_BLOCKS; j++) l->r[1][j] = bpi_radius_squared(c2[j]);
    for (j = 0; j < BPI_RNG_BLOCKS; j++) {
        l->c[1][j] = c1[j];
        l->c[3][j] = c3[j];
    }
}

BPI_ALWAYS_INLINE void bpi_normals_end(bp_real *out, const bpi_normal_lanes *l) {
    double n[4][BPI_RNG_BLOCKS];
    int j;
    for (j = 0; j < BPI_RNG_BLOCKS; j++) bpi_on_circle(&n[0][j], &n[1][j], l->r[0][j], l->c[1][j]);
    for (j = 0; j < BPI_RNG_BLOCKS; j++) bpi_on_circle(&n[2][j], &n[3][j], l->r[1][j], l->c[3][j]);
    for (j = 0; j < BPI_RNG_BLOCKS; j++) {
        out[4 * j] = BP_R(n[0][j]);
        out[4 * j + 1] = BP_R(n[1][j]);
        out[4 * j + 2] = BP_R(n[2][j]);
        out[4 * j + 3] = BP_R(n[3][j]);
    }
}

/* out[4 * 8]; the counter stays */
BPI_FN void bpi_normals_plain(bp_real *out, const bp_rng *rng) {
    bpi_normal_lanes l;
    int i, j;
    bpi_normals_begin(&l, rng);
    for (i = 0; i < 2; i++)
        for (j = 0; j < BPI_RNG_BLOCKS; j++) l.r[i][j] = sqrt(l.r[i][j]);
    bpi_normals_end(out, &l);
}

#ifdef BPI_X86
BPI_AVX2_ATTR BPI_FN void bpi_normals_avx2(bp_real *out, const bp_rng *rng) {
    bpi_normal_lanes l;
    int i, j;
    bpi_normals_begin(&l, rng);
    for (i = 0; i < 2; i++)
        for (j = 0; j < BPI_RNG_BLOCKS; j += 4)
            _mm256_storeu_pd(&l.r[i][j], _mm256_sqrt_pd(_mm256_loadu_pd(&l.r[i][j])));
    bpi_normals_end(out, &l);
}

BPI_AVX512_ATTR BPI_FN void bpi_normals_avx512(bp_real *out, const bp_rng *rng) {
    bpi_normal_lanes l;
    int i;
    bpi_normals_begin(&l, rng);
    /* the masked form: gcc 12 warns about the other one in its own header */
    for (i = 0; i < 2; i++) _mm512_storeu_pd(l.r[i], _mm512_maskz_sqrt_pd((__mmask8)255, _mm512_loadu_pd(l.r[i])));
    bpi_normals_end(out, &l);
}
#endif

BPRIOR_API void bp_rng_normals(bp_real *out, bp_rng *rng, size_t n) {
    void (*many)(bp_real * out, const bp_rng *rng) = bpi_normals_plain;
    for (; n > 0 && rng->normals_left > 0; n--) *out++ = bp_rng_normal(rng);
#ifdef BPI_X86
    if (n >= 4 * BPI_RNG_BLOCKS) {
        int level = bpi_cpu_level();
        many = level == 3 ? bpi_normals_avx512 : level == 2 ? bpi_normals_avx2
                                                            : many;
    }
#endif
    for (; n >= 4 * BPI_RNG_BLOCKS; n -= 4 * BPI_RNG_BLOCKS) {
        many(out, rng);
        rng->counter += BPI_RNG_BLOCKS;
        out += 4 * BPI_RNG_BLOCKS;
    }
    for (; n > 0; n--) *out++ = bp_rng_normal(rng);
}

BPRIOR_API size_t bp_rng_index(bp_rng *rng, size_t n) {
    if (n <= 1) return 0;
    if ((uint64_t)n <= UINT64_C(0xFFFFFFFF)) {
        /* Lemire (2019): the upper half of word * n is uniform once the 2^32 mod n surplus words are refused. */
        uint32_t range = (uint32_t)n;
        uint64_t product = (uint64_t)bp_rng_u32(rng) * range;
        if ((uint32_t)product < range) {
            uint32_t surplus = (0u - range) % range;
            while ((uint32_t)product < surplus) product = (uint64_t)bp_rng_u32(rng) * range;
        }
        return (size_t)(product >> 32);
    } else {
        uint64_t range = (uint64_t)n, surplus = (0u - range) % range, word;
        do word = bp_rng_u64(rng);
        while (word < surplus);
        return (size_t)(word % range);
    }
}

BPRIOR_API void bp_rng_shuffle(size_t *idx, bp_rng *rng, size_t n) {
    size_t i;
    for (i = n; i > 1; i--) {
        size_t j = bp_rng_index(rng, i), t = idx[i - 1];
        idx[i - 1] = idx[j];
        idx[j] = t;
    }
}

BPRIOR_API size_t bp_rng_pick(bp_rng *rng, const bp_real *prob, size_t n) {
    double total = 0.0, sum = 0.0, target;
    size_t i, last = 0;
    for (i = 0; i < n; i++)
        if (prob[i] > BP_R(0)) total += (double)prob[i];
    target = bp_rng_uniform(rng) * total;
    for (i = 0; i < n; i++) {
        if (!(prob[i] > BP_R(0))) continue;
        sum += (double)prob[i];
        last = i; /* if rounding leaves target == total, the last possible entry gets it */
        if (target < sum) break;
    }
    return last;
}

BPRIOR_API void bp_rng_skip(bp_rng *rng, uint64_t blocks) {
    rng->counter += blocks;
    rng->words_left = 0;
    rng->normals_left = 0;
}

/* A bijection of 64 bits that lets every input bit reach every output bit: multiply by odd numbers, fold down. */
BPI_FN uint64_t bpi_scramble(uint64_t x) {
    x ^= x >> 30;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 27;
    x *= UINT64_C(0x94D049BB133111EB);
    x ^= x >> 31;
    return x;
}

BPRIOR_API uint64_t bp_seed_mix(uint64_t seed, uint64_t a, uint64_t b) {
    uint64_t h = bpi_scramble(seed + UINT64_C(0x9E3779B97F4A7C15));
    h = bpi_scramble(h + a + UINT64_C(0x9E3779B97F4A7C15));
    return bpi_scramble(h + b + UINT64_C(0x9E3779B97F4A7C15));
}

/* ==========================================================================
 * 4. >>linalg-impl   Linear algebra and compute
 *    provides: bp_compute_init bp_gemm bp_vec_* bp_exp bp_log bp_tanh bp_softplus bp_team
 *    needs: 1 2        equations: none
 * ========================================================================== */

#define bpi_exp bp_exp
#define bpi_log bp_log
#define bpi_tanh bp_tanh
#define bpi_softplus bp_softplus

/* --- 4.1 exp and its relatives ------------------------------------------------------------------------------------
 *
 * All of them rest on one reduction. With n = x / ln 2 rounded to an integer and r = x - n ln 2, |r| < 0.347,
 *
 *     e^x = 2^n (1 + q)        q = e^r - 1 = r + r^2 (1/2 + r/6 + r^2/24 + ...)
 *
 * Rounding is done by adding and taking away a number so large that its last bit has the weight 1; the same bits then
 * hold n as an integer. There are no branches, so that a loop over these bodies can be vectorised, and no fused
 * multiply-adds, so that it does not matter whether it was. */

#ifdef BPRIOR_DOUBLE
typedef uint64_t bpi_bits;
#define BPI_ROUND_MAGIC 6755399441055744.0 /* 1.5 * 2^52 */
#define BPI_MANTISSA 52
#define BPI_BIAS 1023u
#define BPI_LN2_HI 6.93147180369123816490e-01
#define BPI_LN2_LO 1.90821492927058770002e-10
#define BPI_SQRT_HALF_CARRY UINT64_C(0x00095F619980C434) /* carries into the exponent from sqrt(1/2) upward */
#define BPI_EXP_MAX 710.0                                /* e^x overflows below this */
#define BPI_EXP_MIN (-746.0)                             /* and is 0 above this */
#define BPI_EXPM1_MIN (-38.0)                            /* e^x - 1 is -1 below this */
#define BPI_TANH_MAX 20.0                                /* tanh is 1 beyond this */
#define BPI_SUBNORMAL_SCALE 18014398509481984.0          /* 2^54 */
#define BPI_SUBNORMAL_SHIFT 54.0
#define BPI_REAL_MIN DBL_MIN
#else
typedef uint32_t bpi_bits;
#define BPI_ROUND_MAGIC 12582912.0f /* 1.5 * 2^23 */
#define BPI_MANTISSA 23
#define BPI_BIAS 127u
#define BPI_LN2_HI 6.93145752e-1f /* 0x3F317200: the last nine bits are zero */
#define BPI_LN2_LO 1.42860677e-6f
#define BPI_SQRT_HALF_CARRY 0x004AFB0Du
#define BPI_EXP_MAX 90.0f
#define BPI_EXP_MIN (-105.0f)
#define BPI_EXPM1_MIN (-18.0f)
#define BPI_TANH_MAX 10.0f
#define BPI_SUBNORMAL_SCALE 16777216.0f /* 2^24 */
#define BPI_SUBNORMAL_SHIFT 24.0f
#define BPI_REAL_MIN FLT_MIN
#endif

BPI_ALWAYS_INLINE bpi_bits bpi_bits_of(bp_real x) {
    bpi_bits b;
    memcpy(&b, &x, sizeof b);
    return b;
}

BPI_ALWAYS_INLINE bp_real bpi_from_bits(bpi_bits b) {
    bp_real x;
    memcpy(&x, &b, sizeof x);
    return x;
}

/* yes if the condition holds, else no: written with a mask, because compilers give up on vectorising a loop whose
 * conditional expressions they cannot prove free of side effects. */
BPI_ALWAYS_INLINE bp_real bpi_select(bool condition, bp_real yes, bp_real no) {
    bpi_bits mask = (bpi_bits)0 - (bpi_bits)condition;
    return bpi_from_bits((bpi_bits_of(yes) & mask) | (bpi_bits_of(no) & ~mask));
}

/* q and the integer n (in two's complement) of the reduction above. */
BPI_ALWAYS_INLINE bp_real bpi_exp_reduce(bp_real x, bpi_bits *n) {
    bp_real t = x * BP_R(1.44269504088896340736) + BPI_ROUND_MAGIC, k = t - BPI_ROUND_MAGIC, r, p;
    *n = bpi_bits_of(t) - bpi_bits_of(BPI_ROUND_MAGIC);
    r = (x - k * BPI_LN2_HI) - k * BPI_LN2_LO;
#ifdef BPRIOR_DOUBLE
    p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
#else
    p = 1.0f / 5040.0f;
#endif
    p = p * r + BP_R(1.0 / 720.0);
    p = p * r + BP_R(1.0 / 120.0);
    p = p * r + BP_R(1.0 / 24.0);
    p = p * r + BP_R(1.0 / 6.0);
    p = p * r + BP_R(0.5);
    return r + r * r * p;
}

/* 2^n for an n that gives a normal number. */
BPI_ALWAYS_INLINE bp_real bpi_pow2(bpi_bits n) { return bpi_from_bits((n + BPI_BIAS) << BPI_MANTISSA); }

BPI_ALWAYS_INLINE bp_real bpi_exp_body(bp_real x) {
    bpi_bits n, half;
    bp_real q;
    x = bpi_select(x > BPI_EXP_MAX, BPI_EXP_MAX, x); /* written so that a NaN stays */
    x = bpi_select(x < BPI_EXP_MIN, BPI_EXP_MIN, x);
    q = bpi_exp_reduce(x, &n);
    /* 2^n may be too large or too small for a normal number where the result is not, so multiply by it in two parts:
     * n/2, shifted with its sign by way of an offset that makes it positive, and the rest. */
    half = ((n + 2048u) >> 1) - 1024u;
    return (BP_R(1) + q) * bpi_pow2(half) * bpi_pow2(n - half);
}

/* e^x - 1 for x <= some 40: 2^n q + (2^n - 1), in which the bracket is exact or as good as. */
BPI_ALWAYS_INLINE bp_real bpi_expm1_body(bp_real x) {
    bpi_bits n;
    bp_real q, s;
    x = bpi_select(x < BPI_EXPM1_MIN, BPI_EXPM1_MIN, x);
    q = bpi_exp_reduce(x, &n);
    s = bpi_pow2(n);
    return s * q + (s - BP_R(1));
}

/* tanh |x| = (e^(2|x|) - 1) / (e^(2|x|) + 1) = w / (w + 2) with w = e^(2|x|) - 1, which keeps small x exact. */
BPI_ALWAYS_INLINE bp_real bpi_tanh_body(bp_real x) {
    bpi_bits sign = bpi_bits_of(x) & ((bpi_bits)1 << (sizeof(bp_real) * 8 - 1));
    bp_real a = bpi_from_bits(bpi_bits_of(x) ^ sign), w;
    a = bpi_select(a > BPI_TANH_MAX, BPI_TANH_MAX, a);
    w = bpi_expm1_body(a + a);
    return bpi_from_bits(bpi_bits_of(w / (w + BP_R(2))) | sign);
}

/* log(1 + e^x) = max(x, 0) + log(1 + t), t = e^-|x| in [0, 1]. With s = t / (2 + t) <= 1/3,
 *
 *     log(1 + t) = log((1 + s) / (1 - s)) = 2 s (1 + s^2/3 + s^4/5 + ...)                                            */
BPI_ALWAYS_INLINE bp_real bpi_softplus_body(bp_real x) {
    bp_real a = -bpi_fabs(x), t = bpi_exp_body(a), s = t / (BP_R(2) + t), z = s * s, p;
#ifdef BPRIOR_DOUBLE
    p = 1.0 / 33.0;
    p = p * z + 1.0 / 31.0;
    p = p * z + 1.0 / 29.0;
    p = p * z + 1.0 / 27.0;
    p = p * z + 1.0 / 25.0;
    p = p * z + 1.0 / 23.0;
    p = p * z + 1.0 / 21.0;
    p = p * z + 1.0 / 19.0;
    p = p * z + 1.0 / 17.0;
#else
    p = 1.0f / 17.0f;
#endif
    p = p * z + BP_R(1.0 / 15.0);
    p = p * z + BP_R(1.0 / 13.0);
    p = p * z + BP_R(1.0 / 11.0);
    p = p * z + BP_R(1.0 / 9.0);
    p = p * z + BP_R(1.0 / 7.0);
    p = p * z + BP_R(1.0 / 5.0);
    p = p * z + BP_R(1.0 / 3.0);
    return bpi_select(x > BP_R(0), x, BP_R(0)) + (s + s + (s + s) * (z * p));
}

/* The derivation stands at bpi_log_double in chapter 3; here also for subnormal, zero, negative and infinite x. */
BPI_ALWAYS_INLINE bp_real bpi_log_body(bp_real x0) {
    bp_real x = bpi_select(x0 < BPI_REAL_MIN, x0 * BPI_SUBNORMAL_SCALE, x0);
    bp_real f, s, z, p, half, e, y;
    bpi_bits bits = bpi_bits_of(x), n = (bits + BPI_SQRT_HALF_CARRY) >> BPI_MANTISSA;
    /* the exponent as a number: put it in the low bits of a large one and take that away */
    e = bpi_from_bits(bpi_bits_of(BPI_ROUND_MAGIC) + n) - (BPI_ROUND_MAGIC + (bp_real)BPI_BIAS) -
        bpi_select(x0 < BPI_REAL_MIN, BPI_SUBNORMAL_SHIFT, BP_R(0));
    f = bpi_from_bits(bits - ((n - BPI_BIAS) << BPI_MANTISSA)) - BP_R(1);
    s = f / (BP_R(2) + f);
    z = s * s;
#ifdef BPRIOR_DOUBLE
    p = 2.0 / 23.0;
    p = p * z + 2.0 / 21.0;
    p = p * z + 2.0 / 19.0;
    p = p * z + 2.0 / 17.0;
    p = p * z + 2.0 / 15.0;
    p = p * z + 2.0 / 13.0;
    p = p * z + 2.0 / 11.0;
    p = p * z + 2.0 / 9.0;
#else
    p = 2.0f / 9.0f;
#endif
    p = p * z + BP_R(2.0 / 7.0);
    p = p * z + BP_R(2.0 / 5.0);
    p = p * z + BP_R(2.0 / 3.0);
    p = p * z;
    half = BP_R(0.5) * f * f;
    y = e * BPI_LN2_HI - ((half - (s * (half + p) + e * BPI_LN2_LO)) - f);
    y = bpi_select(x0 > BPI_REAL_MAX, x0, y); /* +infinity */
    y = bpi_select(x0 == BP_R(0), -bpi_from_bits(((bpi_bits)2 * BPI_BIAS + 1u) << BPI_MANTISSA), y);
    return bpi_select(x0 >= BP_R(0), y, bpi_from_bits(~(bpi_bits)0 >> 1)); /* NaN for negative numbers and for NaN */
}

BPI_ALWAYS_INLINE bp_real bpi_act_body(bp_real x, bp_activation act) {
    bp_real e;
    switch (act) {
    case BP_ACT_TANH: return bpi_tanh_body(x);
    case BP_ACT_ELU: e = bpi_expm1_body(bpi_select(x > BP_R(0), BP_R(0), x)); return bpi_select(x > BP_R(0), x, e);
    case BP_ACT_RELU: return bpi_select(x < BP_R(0), BP_R(0), x);
    case BP_ACT_SOFTPLUS: return bpi_softplus_body(x);
    case BP_ACT_NONE: break;
    }
    return x;
}

/* act'(x) from y = act(x). */
BPI_ALWAYS_INLINE bp_real bpi_act_slope(bp_real y, bp_activation act) {
    switch (act) {
    case BP_ACT_TANH: return BP_R(1) - y * y;
    case BP_ACT_ELU: return bpi_select(y > BP_R(0), BP_R(1), y + BP_R(1));
    case BP_ACT_RELU: return bpi_select(y > BP_R(0), BP_R(1), BP_R(0));
    case BP_ACT_SOFTPLUS: return -bpi_expm1_body(-y);
    case BP_ACT_NONE: break;
    }
    return BP_R(1);
}

BPRIOR_API bp_real bp_exp(bp_real x) { return bpi_exp_body(x); }
BPRIOR_API bp_real bp_log(bp_real x) { return bpi_log_body(x); }
BPRIOR_API bp_real bp_tanh(bp_real x) { return bpi_tanh_body(x); }
BPRIOR_API bp_real bp_softplus(bp_real x) { return bpi_softplus_body(x); }

/* --- 4.2 elementwise loops ------------------------------------------------------------------------------------------
 *
 * Each loop is written once and inlined into one function per kernel (4.6); the compiler then vectorises it for that
 * kernel's registers. It works in blocks of BPI_LANES numbers that are copied to a local array first: the trip count
 * is then a constant and nothing can overlap, which is what compilers want to see before they vectorise at -O2. The last,
 * short block is padded with zeros. Since every number goes through the same operations without contraction, the bits
 * are those of the scalar functions. */
#define BPI_LANES ((size_t)(128 / sizeof(bp_real)))

typedef enum bpi_unary { BPI_EXP,
                         BPI_LOG,
                         BPI_TANH,
                         BPI_SOFTPLUS,
                         BPI_ELU,
                         BPI_RELU } bpi_unary;

BPI_ALWAYS_INLINE bp_real bpi_unary_body(bp_real x, bpi_unary f) {
    bp_real e;
    switch (f) {
    case BPI_EXP: return bpi_exp_body(x);
    case BPI_LOG: return bpi_log_body(x);
    case BPI_TANH: return bpi_tanh_body(x);
    case BPI_SOFTPLUS: return bpi_softplus_body(x);
    case BPI_ELU: e = bpi_expm1_body(bpi_select(x > BP_R(0), BP_R(0), x)); return bpi_select(x > BP_R(0), x, e);
    case BPI_RELU: return bpi_select(x < BP_R(0), BP_R(0), x);
    }
    return x;
}

BPI_ALWAYS_INLINE void bpi_unary_block(bp_real *y, const bp_real *x, size_t count, bpi_unary f) {
    bp_real in[BPI_LANES], out[BPI_LANES];
    size_t j;
    if (count == BPI_LANES) {
        memcpy(in, x, sizeof in);
    } else {
        memset(in, 0, sizeof in);
        for (j = 0; j < count; j++) in[j] = x[j];
    }
    for (j = 0; j < BPI_LANES; j++) out[j] = bpi_unary_body(in[j], f);
    if (count == BPI_LANES) {
        memcpy(y, out, sizeof out);
    } else {
        for (j = 0; j < count; j++) y[j] = out[j];
    }
}

BPI_ALWAYS_INLINE void bpi_unary_one(bp_real *y, const bp_real *x, size_t n, bpi_unary f) {
    size_t i = 0;
    for (; n - i >= BPI_LANES; i += BPI_LANES) bpi_unary_block(y + i, x + i, BPI_LANES, f);
    if (i < n) bpi_unary_block(y + i, x + i, n - i, f);
}

BPI_ALWAYS_INLINE void bpi_unary_loop(bp_real *y, const bp_real *x, size_t n, bpi_unary f) {
    switch (f) { /* one loop per function, so that none decides inside */
    case BPI_EXP: bpi_unary_one(y, x, n, BPI_EXP); break;
    case BPI_LOG: bpi_unary_one(y, x, n, BPI_LOG); break;
    case BPI_TANH: bpi_unary_one(y, x, n, BPI_TANH); break;
    case BPI_SOFTPLUS: bpi_unary_one(y, x, n, BPI_SOFTPLUS); break;
    case BPI_ELU: bpi_unary_one(y, x, n, BPI_ELU); break;
    case BPI_RELU: bpi_unary_one(y, x, n, BPI_RELU); break;
    }
}

/* dx = dy * slope(y), or dx += it. */
BPI_ALWAYS_INLINE void bpi_slope_one(bp_real *dx, const bp_real *dy, const bp_real *y, size_t n, bp_activation act,
                                     bool add) {
    bp_real g[BPI_LANES], v[BPI_LANES], out[BPI_LANES];
    size_t i, j;
    for (i = 0; i < n; i += BPI_LANES) {
        size_t count = bpi_min_size(n - i, BPI_LANES);
        if (count == BPI_LANES) {
            memcpy(g, dy + i, sizeof g);
            memcpy(v, y + i, sizeof v);
        } else {
            memset(g, 0, sizeof g);
            memset(v, 0, sizeof v);
            for (j = 0; j < count; j++) {
                g[j] = dy[i + j];
                v[j] = y[i + j];
            }
        }
        for (j = 0; j < BPI_LANES; j++) out[j] = g[j] * bpi_act_slope(v[j], act);
        if (count == BPI_LANES && add) {
            memcpy(g, dx + i, sizeof g);
            for (j = 0; j < BPI_LANES; j++) out[j] = g[j] + out[j];
            memcpy(dx + i, out, sizeof out);
        } else if (count == BPI_LANES) {
            memcpy(dx + i, out, sizeof out);
        } else {
            for (j = 0; j < count; j++) dx[i + j] = add ? dx[i + j] + out[j] : out[j];
        }
    }
}

BPI_ALWAYS_INLINE void bpi_slope_loop(bp_real *dx, const bp_real *dy, const bp_real *y, size_t n, bp_activation act,
                                      bool add) {
    switch (act) {
    case BP_ACT_NONE: bpi_slope_one(dx, dy, y, n, BP_ACT_NONE, add); break;
    case BP_ACT_TANH: bpi_slope_one(dx, dy, y, n, BP_ACT_TANH, add); break;
    case BP_ACT_ELU: bpi_slope_one(dx, dy, y, n, BP_ACT_ELU, add); break;
    case BP_ACT_RELU: bpi_slope_one(dx, dy, y, n, BP_ACT_RELU, add); break;
    case BP_ACT_SOFTPLUS: bpi_slope_one(dx, dy, y, n, BP_ACT_SOFTPLUS, add); break;
    }
}

BPI_ALWAYS_INLINE void bpi_axpy_loop(bp_real *BPI_RESTRICT y, bp_real a, const bp_real *BPI_RESTRICT x, size_t n) {
    size_t i = 0, j;
    for (; n - i >= BPI_LANES; i += BPI_LANES)
        for (j = 0; j < BPI_LANES; j++) y[i + j] += a * x[i + j];
    for (; i < n; i++) y[i] += a * x[i];
}

BPI_ALWAYS_INLINE double bpi_sumsq_loop(const bp_real *x, size_t n) {
    double lane[8] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    size_t i = 0, j;
    for (; n - i >= 8; i += 8)
        for (j = 0; j < 8; j++) lane[j] += (double)x[i + j] * (double)x[i + j];
    for (j = 0; i + j < n; j++) lane[j] += (double)x[i + j] * (double)x[i + j];
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

/* --- 4.3 the reference product --------------------------------------------------------------------------------------
 *
 *     out[i][j] = act( sum_p op(A)[i][p] op(B)[p][j]  +  beta out[i][j]  +  bias[j] )
 *
 * A transposed matrix is the same memory with the two strides exchanged; that is all trans_a and trans_b mean. */
BPI_FN void bpi_gemm_reference(const bp_compute *c, bool trans_a, bool trans_b, size_t m, size_t n, size_t k,
                               const bp_real *a, size_t lda, const bp_real *b, size_t ldb, bp_real beta, bp_real *out,
                               size_t ldc, const bp_real *bias, bp_activation act) {
    size_t a_row = trans_a ? 1 : lda, a_col = trans_a ? lda : 1;
    size_t b_row = trans_b ? 1 : ldb, b_col = trans_b ? ldb : 1;
    size_t i, j, p;
    BPI_UNUSED(c);
    for (i = 0; i < m; i++) {
        for (j = 0; j < n; j++) {
            bp_real sum = BP_R(0);
            for (p = 0; p < k; p++) sum += a[i * a_row + p * a_col] * b[p * b_row + j * b_col];
            if (beta != BP_R(0)) sum += beta * out[i * ldc + j];
            if (bias) sum += bias[j];
            out[i * ldc + j] = bpi_act_body(sum, act);
        }
    }
}

BPI_FN bp_real bpi_dot_reference(const bp_real *x, const bp_real *y, size_t n) {
    bp_real sum = BP_R(0);
    size_t i;
    for (i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* --- 4.4 one tile of the product ------------------------------------------------------------------------------------
 *
 * A vector kernel cuts C into tiles of R rows by one or two registers, and keeps a whole tile in registers while p runs
 * over the inner dimension:
 *
 *     for p:   load b[p][0..W), b[p][W..2W)        (W numbers per register)
 *              for each of the R rows i:   x = a[i][p] in all lanes;   C[i] += x * b      (2 fused multiply-adds)
 *
 * With R = 14 and two registers AVX-512 needs 28 + 2 + 1 of its 32 registers and issues 28 multiply-adds for 16 loads,
 * which keeps both multipliers of a core busy. AVX2, with 16 registers, has R = 6. Every element of C is one chain of
 * multiply-adds over ascending p, started from the bias: so its bits do not depend on the tile it falls in.
 *
 * The text below is written once, as macros over the prefix I of an instruction set, because R rows in registers
 * cannot be a loop: registers have no index. For a prefix I these must exist:
 *
 *     I_T         the register type           I_W        numbers per register
 *     I_MASK_T    which lanes exist           I_mask(n)  the mask of the first n lanes, n <= W
 *     I_zero()  I_set1(x)  I_load(p)  I_store(p, v)  I_loadm(p, mask)  I_storem(p, mask, v)
 *     I_add(a, b)  I_fma(a, b, c) = a b + c               */

/* clang-format off */
/* a[i][p] for row-major A: pointers to every third row, one and two rows further by the stride. x86 and ARM fold these
 * additions into the load, where fourteen pointers would not fit the integer registers. */
#define BPI_AN_0 a0[0]
#define BPI_AN_1 a0[lda]
#define BPI_AN_2 a0[2 * lda]
#define BPI_AN_3 a3[0]
#define BPI_AN_4 a3[lda]
#define BPI_AN_5 a3[2 * lda]
#define BPI_AN_6 a6[0]
#define BPI_AN_7 a6[lda]
#define BPI_AN_8 a6[2 * lda]
#define BPI_AN_9 a9[0]
#define BPI_AN_10 a9[lda]
#define BPI_AN_11 a9[2 * lda]
#define BPI_AN_12 a12[0]
#define BPI_AN_13 a12[lda]
#define BPI_AN_NEXT (a0++, a3++, a6++, a9++, a12++)
/* the same for transposed A, where the rows of a tile lie side by side */
#define BPI_AT_0 a0[0]
#define BPI_AT_1 a0[1]
#define BPI_AT_2 a0[2]
#define BPI_AT_3 a0[3]
#define BPI_AT_4 a0[4]
#define BPI_AT_5 a0[5]
#define BPI_AT_6 a0[6]
#define BPI_AT_7 a0[7]
#define BPI_AT_8 a0[8]
#define BPI_AT_9 a0[9]
#define BPI_AT_10 a0[10]
#define BPI_AT_11 a0[11]
#define BPI_AT_12 a0[12]
#define BPI_AT_13 a0[13]
#define BPI_AT_NEXT (a0 += lda)

/* X(I, A, i) for the rows i of a tile of 1, 2, ... rows */
#define BPI_REP_1(X, I, A) X(I, A, 0)
#define BPI_REP_2(X, I, A) BPI_REP_1(X, I, A) X(I, A, 1)
#define BPI_REP_3(X, I, A) BPI_REP_2(X, I, A) X(I, A, 2)
#define BPI_REP_4(X, I, A) BPI_REP_3(X, I, A) X(I, A, 3)
#define BPI_REP_5(X, I, A) BPI_REP_4(X, I, A) X(I, A, 4)
#define BPI_REP_6(X, I, A) BPI_REP_5(X, I, A) X(I, A, 5)
#define BPI_REP_7(X, I, A) BPI_REP_6(X, I, A) X(I, A, 6)
#define BPI_REP_8(X, I, A) BPI_REP_7(X, I, A) X(I, A, 7)
#define BPI_REP_9(X, I, A) BPI_REP_8(X, I, A) X(I, A, 8)
#define BPI_REP_10(X, I, A) BPI_REP_9(X, I, A) X(I, A, 9)
#define BPI_REP_11(X, I, A) BPI_REP_10(X, I, A) X(I, A, 10)
#define BPI_REP_12(X, I, A) BPI_REP_11(X, I, A) X(I, A, 11)
#define BPI_REP_13(X, I, A) BPI_REP_12(X, I, A) X(I, A, 12)
#define BPI_REP_14(X, I, A) BPI_REP_13(X, I, A) X(I, A, 13)

#define BPI_ROW_INIT_1(I, A, i) I##_T c0_##i = s0;
#define BPI_ROW_INIT_2(I, A, i) I##_T c0_##i = s0, c1_##i = s1;
#define BPI_ROW_FMA_1(I, A, i)   \
    x = I##_set1(BPI_##A##_##i); \
    c0_##i = I##_fma(x, b0, c0_##i);
#define BPI_ROW_FMA_2(I, A, i)       \
    x = I##_set1(BPI_##A##_##i);     \
    c0_##i = I##_fma(x, b0, c0_##i); \
    c1_##i = I##_fma(x, b1, c1_##i);
#define BPI_ROW_BETA_1(I, A, i) c0_##i = I##_fma(s0, I##_loadm(out + i * ldc, m0), c0_##i);
#define BPI_ROW_BETA_2(I, A, i)                                 \
    c0_##i = I##_fma(s0, I##_loadm(out + i * ldc, m0), c0_##i); \
    c1_##i = I##_fma(s0, I##_loadm(out + i * ldc + I##_W, m1), c1_##i);
#define BPI_ROW_STORE_1(I, A, i) I##_storem(out + i * ldc, m0, c0_##i);
#define BPI_ROW_STORE_2(I, A, i)            \
    I##_storem(out + i * ldc, m0, c0_##i); \
    I##_storem(out + i * ldc + I##_W, m1, c1_##i);

/* What a tile needs to know. b is a panel with ldb numbers between its rows, of which a whole tile width is readable
 * and cols exist in C. */
typedef void (*bpi_tile_fn)(size_t k, const bp_real *a, size_t lda, const bp_real *b, size_t ldb, bp_real beta,
                            bp_real *out, size_t ldc, const bp_real *bias, size_t cols);

#define BPI_TILE_ARGS                                                                                            \
    size_t k, const bp_real *a, size_t lda, const bp_real *b, size_t ldb, bp_real beta, bp_real *out, size_t ldc, \
        const bp_real *bias, size_t cols

/* A tile function: I prefix, A = AN or AT, R rows, one register wide */
#define BPI_TILE_1(I, ATTR, A, R)                                                                                 \
    ATTR BPI_FN void I##_tile_##A##_1_##R(BPI_TILE_ARGS)                                                          \
    {                                                                                                             \
        const I##_MASK_T m0 = I##_mask(cols);                                                                     \
        I##_T s0 = bias ? I##_loadm(bias, m0) : I##_zero();                                                       \
        BPI_TILE_POINTERS                                                                                         \
        BPI_REP_##R(BPI_ROW_INIT_1, I, A)                                                                         \
        for (; k > 0; k--) {                                                                                      \
            I##_T b0 = I##_load(b), x;                                                                            \
            BPI_REP_##R(BPI_ROW_FMA_1, I, A)                                                                      \
            b += ldb;                                                                                             \
            (void)BPI_##A##_NEXT;                                                                                 \
        }                                                                                                         \
        if (beta != BP_R(0)) {                                                                                    \
            s0 = I##_set1(beta);                                                                                  \
            BPI_REP_##R(BPI_ROW_BETA_1, I, A)                                                                     \
        }                                                                                                         \
        BPI_REP_##R(BPI_ROW_STORE_1, I, A)                                                                        \
    }

/* two registers wide; here cols > W */
#define BPI_TILE_2(I, ATTR, A, R)                                                                                 \
    ATTR BPI_FN void I##_tile_##A##_2_##R(BPI_TILE_ARGS)                                                          \
    {                                                                                                             \
        const I##_MASK_T m0 = I##_mask(I##_W), m1 = I##_mask(cols - I##_W);                                       \
        I##_T s0 = bias ? I##_loadm(bias, m0) : I##_zero(), s1 = bias ? I##_loadm(bias + I##_W, m1) : I##_zero(); \
        BPI_TILE_POINTERS                                                                                         \
        BPI_REP_##R(BPI_ROW_INIT_2, I, A)                                                                         \
        for (; k > 0; k--) {                                                                                      \
            I##_T b0 = I##_load(b), b1 = I##_load(b + I##_W), x;                                                  \
            BPI_REP_##R(BPI_ROW_FMA_2, I, A)                                                                      \
            b += ldb;                                                                                             \
            (void)BPI_##A##_NEXT;                                                                                 \
        }                                                                                                         \
        if (beta != BP_R(0)) {                                                                                    \
            s0 = I##_set1(beta);                                                                                  \
            BPI_REP_##R(BPI_ROW_BETA_2, I, A)                                                                     \
        }                                                                                                         \
        BPI_REP_##R(BPI_ROW_STORE_2, I, A)                                                                        \
    }

#define BPI_TILE_POINTERS                                                                                  \
    const bp_real *a0 = a, *a3 = a0 + 3 * lda, *a6 = a3 + 3 * lda, *a9 = a6 + 3 * lda, *a12 = a9 + 3 * lda; \
    (void)a3, (void)a6, (void)a9, (void)a12;

#define BPI_TILES(I, ATTR, R)    \
    BPI_TILE_1(I, ATTR, AN, R)   \
    BPI_TILE_1(I, ATTR, AT, R)   \
    BPI_TILE_2(I, ATTR, AN, R)   \
    BPI_TILE_2(I, ATTR, AT, R)

#define BPI_TILES_6(I, ATTR) \
    BPI_TILES(I, ATTR, 1) BPI_TILES(I, ATTR, 2) BPI_TILES(I, ATTR, 4) BPI_TILES(I, ATTR, 6)
#define BPI_TILES_14(I, ATTR) \
    BPI_TILES(I, ATTR, 1) BPI_TILES(I, ATTR, 2) BPI_TILES(I, ATTR, 4) BPI_TILES(I, ATTR, 8) BPI_TILES(I, ATTR, 14)

/* Index: rows of the tile; 0 where there is no function. The driver takes the largest that fits. */
#define BPI_TILE_LIST_6(I, A, N)                                                                                     \
    {0, I##_tile_##A##_##N##_1, I##_tile_##A##_##N##_2, 0, I##_tile_##A##_##N##_4, 0, I##_tile_##A##_##N##_6, 0, 0, \
     0, 0, 0, 0, 0, 0}
#define BPI_TILE_LIST_14(I, A, N)                                                                                    \
    {0, I##_tile_##A##_##N##_1, I##_tile_##A##_##N##_2, 0, I##_tile_##A##_##N##_4, 0, 0, 0, I##_tile_##A##_##N##_8, \
     0, 0, 0, 0, 0, I##_tile_##A##_##N##_14}

/* One row times a matrix, out[n] = x[k] B[k][n] + bias: what an actor does at every step. Nothing is packed; B is read
 * row by row. A multiply-add takes four cycles until the next one of its chain may start, so besides four registers of
 * columns there are two chains, over even and odd p, added at the end. */
#define BPI_ROW_PRODUCT(I, ATTR)                                                                              \
    ATTR BPI_FN void I##_row(size_t n, size_t k, const bp_real *a, size_t step, const bp_real *b, size_t ldb, \
                             bp_real beta, bp_real *out, const bp_real *bias)                                 \
    {                                                                                                         \
        size_t j = 0, p;                                                                                      \
        for (; n - j >= 4 * I##_W; j += 4 * I##_W) {                                                          \
            const bp_real *bj = b + j, *aj = a;                                                               \
            I##_T c0 = bias ? I##_load(bias + j) : I##_zero();                                                \
            I##_T c1 = bias ? I##_load(bias + j + I##_W) : I##_zero();                                        \
            I##_T c2 = bias ? I##_load(bias + j + 2 * I##_W) : I##_zero();                                    \
            I##_T c3 = bias ? I##_load(bias + j + 3 * I##_W) : I##_zero();                                    \
            I##_T d0 = I##_zero(), d1 = I##_zero(), d2 = I##_zero(), d3 = I##_zero(), x;                      \
            for (p = k; p >= 2; p -= 2, bj += 2 * ldb, aj += 2 * step) {                                      \
                x = I##_set1(aj[0]);                                                                          \
                c0 = I##_fma(x, I##_load(bj), c0);                                                            \
                c1 = I##_fma(x, I##_load(bj + I##_W), c1);                                                    \
                c2 = I##_fma(x, I##_load(bj + 2 * I##_W), c2);                                                \
                c3 = I##_fma(x, I##_load(bj + 3 * I##_W), c3);                                                \
                x = I##_set1(aj[step]);                                                                       \
                d0 = I##_fma(x, I##_load(bj + ldb), d0);                                                      \
                d1 = I##_fma(x, I##_load(bj + ldb + I##_W), d1);                                              \
                d2 = I##_fma(x, I##_load(bj + ldb + 2 * I##_W), d2);                                          \
                d3 = I##_fma(x, I##_load(bj + ldb + 3 * I##_W), d3);                                          \
            }                                                                                                 \
            if (p) {                                                                                          \
                x = I##_set1(aj[0]);                                                                          \
                c0 = I##_fma(x, I##_load(bj), c0);                                                            \
                c1 = I##_fma(x, I##_load(bj + I##_W), c1);                                                    \
                c2 = I##_fma(x, I##_load(bj + 2 * I##_W), c2);                                                \
                c3 = I##_fma(x, I##_load(bj + 3 * I##_W), c3);                                                \
            }                                                                                                 \
            c0 = I##_add(c0, d0), c1 = I##_add(c1, d1), c2 = I##_add(c2, d2), c3 = I##_add(c3, d3);           \
            if (beta != BP_R(0)) {                                                                            \
                x = I##_set1(beta);                                                                           \
                c0 = I##_fma(x, I##_load(out + j), c0);                                                       \
                c1 = I##_fma(x, I##_load(out + j + I##_W), c1);                                               \
                c2 = I##_fma(x, I##_load(out + j + 2 * I##_W), c2);                                           \
                c3 = I##_fma(x, I##_load(out + j + 3 * I##_W), c3);                                           \
            }                                                                                                 \
            I##_store(out + j, c0);                                                                           \
            I##_store(out + j + I##_W, c1);                                                                   \
            I##_store(out + j + 2 * I##_W, c2);                                                               \
            I##_store(out + j + 3 * I##_W, c3);                                                               \
        }                                                                                                     \
        for (; j < n; j += I##_W) { /* the rest, a register or a part of one at a time, in four chains */     \
            const I##_MASK_T m0 = I##_mask(bpi_min_size(n - j, I##_W));                                       \
            const bp_real *bj = b + j, *aj = a;                                                               \
            I##_T c0 = bias ? I##_loadm(bias + j, m0) : I##_zero(), c1 = I##_zero(), c2 = c1, c3 = c1;        \
            for (p = k; p >= 4; p -= 4, bj += 4 * ldb, aj += 4 * step) {                                      \
                c0 = I##_fma(I##_set1(aj[0]), I##_loadm(bj, m0), c0);                                         \
                c1 = I##_fma(I##_set1(aj[step]), I##_loadm(bj + ldb, m0), c1);                                \
                c2 = I##_fma(I##_set1(aj[2 * step]), I##_loadm(bj + 2 * ldb, m0), c2);                        \
                c3 = I##_fma(I##_set1(aj[3 * step]), I##_loadm(bj + 3 * ldb, m0), c3);                        \
            }                                                                                                 \
            for (; p > 0; p--, bj += ldb, aj += step) c0 = I##_fma(I##_set1(aj[0]), I##_loadm(bj, m0), c0);   \
            c0 = I##_add(I##_add(c0, c1), I##_add(c2, c3));                                                   \
            if (beta != BP_R(0)) c0 = I##_fma(I##_set1(beta), I##_loadm(out + j, m0), c0);                    \
            I##_storem(out + j, m0, c0);                                                                      \
        }                                                                                                     \
    }

/* Dot product in four registers; their lanes are then added in halves: 0 + 8, 1 + 9, ... then 0 + 4, ... */
#define BPI_DOT(I, ATTR)                                                                                       \
    ATTR BPI_FN bp_real I##_dot(const bp_real *x, const bp_real *y, size_t n)                                  \
    {                                                                                                          \
        I##_T s0 = I##_zero(), s1 = s0, s2 = s0, s3 = s0;                                                      \
        bp_real lane[I##_W];                                                                                   \
        size_t i = 0;                                                                                          \
        for (; n - i >= 4 * I##_W; i += 4 * I##_W) {                                                           \
            s0 = I##_fma(I##_load(x + i), I##_load(y + i), s0);                                                \
            s1 = I##_fma(I##_load(x + i + I##_W), I##_load(y + i + I##_W), s1);                                \
            s2 = I##_fma(I##_load(x + i + 2 * I##_W), I##_load(y + i + 2 * I##_W), s2);                        \
            s3 = I##_fma(I##_load(x + i + 3 * I##_W), I##_load(y + i + 3 * I##_W), s3);                        \
        }                                                                                                      \
        for (; n - i >= I##_W; i += I##_W) s0 = I##_fma(I##_load(x + i), I##_load(y + i), s0);                 \
        if (i < n) {                                                                                           \
            const I##_MASK_T m0 = I##_mask(n - i);                                                             \
            s1 = I##_fma(I##_loadm(x + i, m0), I##_loadm(y + i, m0), s1);                                      \
        }                                                                                                      \
        I##_store(lane, I##_add(I##_add(s0, s1), I##_add(s2, s3)));                                            \
        if (I##_W >= 16)                                                                                       \
            for (i = 0; i < 8; i++) lane[i] += lane[(i + 8) % I##_W];                                          \
        if (I##_W >= 8)                                                                                        \
            for (i = 0; i < 4; i++) lane[i] += lane[(i + 4) % I##_W];                                          \
        if (I##_W >= 4)                                                                                        \
            for (i = 0; i < 2; i++) lane[i] += lane[(i + 2) % I##_W];                                          \
        if (I##_W >= 2) lane[0] += lane[1 % I##_W];                                                            \
        return lane[0];                                                                                        \
    }

/* Copies a panel of rows x 2W numbers out of a row-major B; columns that do not exist become 0. */
#define BPI_PACK(I, ATTR)                                                                                     \
    ATTR BPI_FN void I##_pack(bp_real *to, const bp_real *b, size_t ldb, size_t rows, size_t cols)            \
    {                                                                                                         \
        const I##_MASK_T m0 = I##_mask(bpi_min_size(cols, I##_W)), m1 = I##_mask(cols > I##_W ? cols - I##_W : 0); \
        for (; rows > 0; rows--, to += 2 * I##_W, b += ldb) {                                                 \
            I##_store(to, I##_loadm(b, m0));                                                                  \
            I##_store(to + I##_W, I##_loadm(b + (cols > I##_W ? I##_W : 0), m1));                             \
        }                                                                                                     \
    }

/* The elementwise loops of 4.2, compiled for this instruction set */
#define BPI_LOOPS(I, ATTR)                                                                                          \
    ATTR BPI_FN void I##_unary(bp_real *y, const bp_real *x, size_t n, bpi_unary f) { bpi_unary_loop(y, x, n, f); } \
    ATTR BPI_FN void I##_slope(bp_real *dx, const bp_real *dy, const bp_real *y, size_t n, bp_activation act,       \
                               bool add)                                                                            \
    {                                                                                                               \
        bpi_slope_loop(dx, dy, y, n, act, add);                                                                     \
    }                                                                                                               \
    ATTR BPI_FN void I##_axpy(bp_real *y, bp_real a, const bp_real *x, size_t n) { bpi_axpy_loop(y, a, x, n); }     \
    ATTR BPI_FN double I##_sumsq(const bp_real *x, size_t n) { return bpi_sumsq_loop(x, n); }

#define BPI_MAX_ROWS 14

struct bp_kernel_table {
    bp_kernel kernel;
    size_t rows;  /* of the largest tile */
    size_t width; /* W, numbers per register */
    void (*gemm)(const bp_compute *c, bool trans_a, bool trans_b, size_t m, size_t n, size_t k, const bp_real *a,
                 size_t lda, const bp_real *b, size_t ldb, bp_real beta, bp_real *out, size_t ldc, const bp_real *bias,
                 bp_activation act);
    void (*row)(size_t n, size_t k, const bp_real *a, size_t step, const bp_real *b, size_t ldb, bp_real beta,
                bp_real *out, const bp_real *bias);
    bp_real (*dot)(const bp_real *x, const bp_real *y, size_t n);
    void (*pack)(bp_real *to, const bp_real *b, size_t ldb, size_t rows, size_t cols);
    void (*unary)(bp_real *y, const bp_real *x, size_t n, bpi_unary f);
    void (*slope)(bp_real *dx, const bp_real *dy, const bp_real *y, size_t n, bp_activation act, bool add);
    void (*axpy)(bp_real *y, bp_real a, const bp_real *x, size_t n);
    double (*sumsq)(const bp_real *x, size_t n);
    bpi_tile_fn tile[2][2][BPI_MAX_ROWS + 1]; /* [A transposed][registers - 1][rows] */
};

BPI_FN void bpi_gemm_tiled(const bp_compute *c, bool trans_a, bool trans_b, size_t m, size_t n, size_t k,
                           const bp_real *a, size_t lda, const bp_real *b, size_t ldb, bp_real beta, bp_real *out,
                           size_t ldc, const bp_real *bias, bp_activation act);

#define BPI_KERNEL(I, ATTR, ROWS, NAME)                                                                              \
    BPI_TILES_##ROWS(I, ATTR)                                                                                        \
    BPI_ROW_PRODUCT(I, ATTR)                                                                                         \
    BPI_DOT(I, ATTR)                                                                                                 \
    BPI_PACK(I, ATTR)                                                                                                \
    BPI_LOOPS(I, ATTR)                                                                                               \
    static const struct bp_kernel_table I##_table = {                                                                \
        NAME, ROWS, I##_W, bpi_gemm_tiled, I##_row, I##_dot, I##_pack, I##_unary, I##_slope, I##_axpy, \
        I##_sumsq,                                                                                                   \
        {{BPI_TILE_LIST_##ROWS(I, AN, 1), BPI_TILE_LIST_##ROWS(I, AN, 2)},                                           \
         {BPI_TILE_LIST_##ROWS(I, AT, 1), BPI_TILE_LIST_##ROWS(I, AT, 2)}}};

/* clang-format on */

/* --- 4.5 instruction sets ------------------------------------------------------------------------------------------- */

/* VECTOR: what any compiler has. gcc and clang have 16-byte vectors on every machine (in software, if need be); for the
 * others a "register" is one number, and the tile still saves loads. */
#if (defined(__GNUC__) || defined(__clang__)) && !defined(__TINYC__)
typedef bp_real bpi_vector_T __attribute__((vector_size(16)));
#define bpi_vector_W ((size_t)(16 / sizeof(bp_real)))
#else
typedef bp_real bpi_vector_T;
#define bpi_vector_W ((size_t)1)
#endif
typedef size_t bpi_vector_MASK_T;
#define bpi_vector_mask(n) (n)
#define bpi_vector_add(a, b) ((a) + (b))
#define bpi_vector_fma(a, b, c) ((c) + (a) * (b))
BPI_ALWAYS_INLINE bpi_vector_T bpi_vector_load(const bp_real *p) {
    bpi_vector_T v;
    memcpy(&v, p, sizeof v);
    return v;
}
BPI_ALWAYS_INLINE void bpi_vector_store(bp_real *p, bpi_vector_T v) { memcpy(p, &v, sizeof v); }
BPI_ALWAYS_INLINE bpi_vector_T bpi_vector_set1(bp_real x) {
    bp_real all[sizeof(bpi_vector_T) / sizeof(bp_real)];
    size_t i;
    for (i = 0; i < bpi_vector_W; i++) all[i] = x;
    return bpi_vector_load(all);
}
BPI_ALWAYS_INLINE bpi_vector_T bpi_vector_zero(void) { return bpi_vector_set1(BP_R(0)); }
BPI_ALWAYS_INLINE bpi_vector_T bpi_vector_loadm(const bp_real *p, size_t n) {
    bp_real all[sizeof(bpi_vector_T) / sizeof(bp_real)];
    size_t i;
    if (n == bpi_vector_W) return bpi_vector_load(p);
    for (i = 0; i < bpi_vector_W; i++) all[i] = i < n ? p[i] : BP_R(0);
    return bpi_vector_load(all);
}
BPI_ALWAYS_INLINE void bpi_vector_storem(bp_real *p, size_t n, bpi_vector_T v) {
    bp_real all[sizeof(bpi_vector_T) / sizeof(bp_real)];
    size_t i;
    if (n == bpi_vector_W) {
        bpi_vector_store(p, v);
        return;
    }
    bpi_vector_store(all, v);
    for (i = 0; i < n; i++) p[i] = all[i];
}
#define BPI_PLAIN /* no attribute */
BPI_KERNEL(bpi_vector, BPI_PLAIN, 6, BP_KERNEL_VECTOR)

#ifdef BPI_X86
#ifdef BPRIOR_DOUBLE
#define bpi_avx2_T __m256d
#define bpi_avx2_W ((size_t)4)
#define bpi_avx2_zero() _mm256_setzero_pd()
#define bpi_avx2_set1(x) _mm256_set1_pd(x)
#define bpi_avx2_load(p) _mm256_loadu_pd(p)
#define bpi_avx2_store(p, v) _mm256_storeu_pd(p, v)
#define bpi_avx2_loadm(p, m) _mm256_maskload_pd(p, m)
#define bpi_avx2_storem(p, m, v) _mm256_maskstore_pd(p, m, v)
#define bpi_avx2_add(a, b) _mm256_add_pd(a, b)
#define bpi_avx2_fma(a, b, c) _mm256_fmadd_pd(a, b, c)
#define bpi_avx2_mask(n) _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)(n)), _mm256_setr_epi64x(0, 1, 2, 3))
#define bpi_avx512_T __m512d
#define bpi_avx512_W ((size_t)8)
#define bpi_avx512_MASK_T __mmask8
#define bpi_avx512_mask(n) ((__mmask8)((1u << (n)) - 1u))
#define bpi_avx512_zero() _mm512_setzero_pd()
#define bpi_avx512_set1(x) _mm512_set1_pd(x)
#define bpi_avx512_load(p) _mm512_loadu_pd(p)
#define bpi_avx512_store(p, v) _mm512_storeu_pd(p, v)
#define bpi_avx512_loadm(p, m) _mm512_maskz_loadu_pd(m, p)
#define bpi_avx512_storem(p, m, v) _mm512_mask_storeu_pd(p, m, v)
#define bpi_avx512_add(a, b) _mm512_add_pd(a, b)
#define bpi_avx512_fma(a, b, c) _mm512_fmadd_pd(a, b, c)
#else
#define bpi_avx2_T __m256
#define bpi_avx2_W ((size_t)8)
#define bpi_avx2_zero() _mm256_setzero_ps()
#define bpi_avx2_set1(x) _mm256_set1_ps(x)
#define bpi_avx2_load(p) _mm256_loadu_ps(p)
#define bpi_avx2_store(p, v) _mm256_storeu_ps(p, v)
#define bpi_avx2_loadm(p, m) _mm256_maskload_ps(p, m)
#define bpi_avx2_storem(p, m, v) _mm256_maskstore_ps(p, m, v)
#define bpi_avx2_add(a, b) _mm256_add_ps(a, b)
#define bpi_avx2_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define bpi_avx2_mask(n) _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#define bpi_avx512_T __m512
#define bpi_avx512_W ((size_t)16)
#define bpi_avx512_MASK_T __mmask16
#define bpi_avx512_mask(n) ((__mmask16)((1u << (n)) - 1u))
#define bpi_avx512_zero() _mm512_setzero_ps()
#define bpi_avx512_set1(x) _mm512_set1_ps(x)
#define bpi_avx512_load(p) _mm512_loadu_ps(p)
#define bpi_avx512_store(p, v) _mm512_storeu_ps(p, v)
#define bpi_avx512_loadm(p, m) _mm512_maskz_loadu_ps(m, p)
#define bpi_avx512_storem(p, m, v) _mm512_mask_storeu_ps(p, m, v)
#define bpi_avx512_add(a, b) _mm512_add_ps(a, b)
#define bpi_avx512_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#endif
#define bpi_avx2_MASK_T __m256i
BPI_KERNEL(bpi_avx2, BPI_AVX2_ATTR, 6, BP_KERNEL_AVX2)
BPI_KERNEL(bpi_avx512, BPI_AVX512_ATTR, 14, BP_KERNEL_AVX512)
#endif /* BPI_X86 */

#ifdef BPI_NEON
#include <arm_neon.h>
#ifdef BPRIOR_DOUBLE
#define bpi_neon_T float64x2_t
#define bpi_neon_W ((size_t)2)
#define bpi_neon_set1(x) vdupq_n_f64(x)
#define bpi_neon_load(p) vld1q_f64(p)
#define bpi_neon_store(p, v) vst1q_f64(p, v)
#define bpi_neon_add(a, b) vaddq_f64(a, b)
#define bpi_neon_fma(a, b, c) vfmaq_f64(c, a, b)
#else
#define bpi_neon_T float32x4_t
#define bpi_neon_W ((size_t)4)
#define bpi_neon_set1(x) vdupq_n_f32(x)
#define bpi_neon_load(p) vld1q_f32(p)
#define bpi_neon_store(p, v) vst1q_f32(p, v)
#define bpi_neon_add(a, b) vaddq_f32(a, b)
#define bpi_neon_fma(a, b, c) vfmaq_f32(c, a, b)
#endif
#define bpi_neon_MASK_T size_t
#define bpi_neon_mask(n) (n)
#define bpi_neon_zero() bpi_neon_set1(BP_R(0))
BPI_ALWAYS_INLINE bpi_neon_T bpi_neon_loadm(const bp_real *p, size_t n) {
    bp_real all[bpi_neon_W];
    size_t i;
    if (n == bpi_neon_W) return bpi_neon_load(p);
    for (i = 0; i < bpi_neon_W; i++) all[i] = i < n ? p[i] : BP_R(0);
    return bpi_neon_load(all);
}
BPI_ALWAYS_INLINE void bpi_neon_storem(bp_real *p, size_t n, bpi_neon_T v) {
    bp_real all[bpi_neon_W];
    size_t i;
    if (n == bpi_neon_W) {
        bpi_neon_store(p, v);
        return;
    }
    bpi_neon_store(all, v);
    for (i = 0; i < n; i++) p[i] = all[i];
}
BPI_KERNEL(bpi_neon, BPI_PLAIN, 14, BP_KERNEL_NEON)
#endif /* BPI_NEON */

/* --- 4.6 the blocked product ----------------------------------------------------------------------------------------
 *
 * B is taken in blocks of at most BPI_KC rows and as many columns as the scratch memory holds, each block cut into
 * panels of 2W columns that lie one after another in memory ("packed"), so that a tile reads it in one stream:
 *
 *     for each block of columns, for each block of p:
 *         pack the block of B                                 (transposing it if trans_b)
 *         for each group of rows of A, for each panel:  tile  (C += beyond the first block of p)
 *
 * A is read where it lies, in either orientation. Packing costs k n moves against m k n multiply-adds; a B that is not
 * transposed and is small or used by few rows is also read where it lies, except for the last, narrow panel. */

#define BPI_KC ((size_t)(1536 / sizeof(bp_real)))                        /* rows of a packed block: 384 floats */
#define BPI_PACK_BYTES ((size_t)(BPI_KC * (512 + 16) * sizeof(bp_real))) /* 792 KiB: fits a second-level cache */
#define BPI_DIRECT_BYTES ((size_t)(24 * 1024))                           /* a B no larger than this stays in the first-level cache */
#define BPI_FAR_BYTES ((size_t)(96 * 1024))                              /* a transposed A larger than this is copied group by group */

/* Packs the transposed: to[p][j] = b[j][p] for j < cols, 0 up to the panel's width. */
BPI_FN void bpi_pack_transposed(bp_real *BPI_RESTRICT to, const bp_real *BPI_RESTRICT b, size_t ldb, size_t rows,
                                size_t cols, size_t width) {
    size_t j = 0, p;
#if defined(BPI_X86) && !defined(BPRIOR_DOUBLE)
    for (; j + 4 <= cols; j += 4) {
        const float *r0 = b + j * ldb, *r1 = r0 + ldb, *r2 = r1 + ldb, *r3 = r2 + ldb;
        for (p = 0; p + 4 <= rows; p += 4) {
            __m128 t0 = _mm_loadu_ps(r0 + p), t1 = _mm_loadu_ps(r1 + p), t2 = _mm_loadu_ps(r2 + p),
                   t3 = _mm_loadu_ps(r3 + p);
            _MM_TRANSPOSE4_PS(t0, t1, t2, t3);
            _mm_storeu_ps(to + p * width + j, t0);
            _mm_storeu_ps(to + (p + 1) * width + j, t1);
            _mm_storeu_ps(to + (p + 2) * width + j, t2);
            _mm_storeu_ps(to + (p + 3) * width + j, t3);
        }
        for (; p < rows; p++) {
            to[p * width + j] = r0[p];
            to[p * width + j + 1] = r1[p];
            to[p * width + j + 2] = r2[p];
            to[p * width + j + 3] = r3[p];
        }
    }
#endif
    for (; j < cols; j++)
        for (p = 0; p < rows; p++) to[p * width + j] = b[j * ldb + p];
    for (; j < width; j++)
        for (p = 0; p < rows; p++) to[p * width + j] = BP_R(0);
}

/* Copies `rows` neighbouring columns of a transposed A: to[p][i] = a[p][i]. Known sizes become a few register moves. */
BPI_FN void bpi_pack_rows(bp_real *BPI_RESTRICT to, const bp_real *BPI_RESTRICT a, size_t lda, size_t depth, size_t rows) {
    size_t p, i;
    switch (rows) {
#define BPI_PACK_ROWS(R)                                                             \
    case R:                                                                          \
        for (p = 0; p < depth; p++) memcpy(to + p * R, a + p * lda, R * sizeof *to); \
        return;
        BPI_PACK_ROWS(14)
        BPI_PACK_ROWS(8)
        BPI_PACK_ROWS(6)
        BPI_PACK_ROWS(4)
#undef BPI_PACK_ROWS
    default: break;
    }
    for (p = 0; p < depth; p++)
        for (i = 0; i < rows; i++) to[p * rows + i] = a[p * lda + i];
}

BPI_FN void bpi_act_inplace(const struct bp_kernel_table *t, bp_real *x, size_t n, bp_activation act) {
    switch (act) {
    case BP_ACT_TANH: t->unary(x, x, n, BPI_TANH); break;
    case BP_ACT_ELU: t->unary(x, x, n, BPI_ELU); break;
    case BP_ACT_RELU: t->unary(x, x, n, BPI_RELU); break;
    case BP_ACT_SOFTPLUS: t->unary(x, x, n, BPI_SOFTPLUS); break;
    case BP_ACT_NONE: break;
    }
}

/* C = act(C), row by row or in one piece where the rows touch. */
BPI_FN void bpi_act_rows(const struct bp_kernel_table *t, bp_real *x, size_t m, size_t n, size_t ldc, bp_activation act) {
    size_t i;
    if (act == BP_ACT_NONE) return;
    if (n == ldc) {
        bpi_act_inplace(t, x, m * n, act);
        return;
    }
    for (i = 0; i < m; i++) bpi_act_inplace(t, x + i * ldc, n, act);
}

BPI_FN void bpi_gemm_tiled(const bp_compute *c, bool trans_a, bool trans_b, size_t m, size_t n, size_t k,
                           const bp_real *a, size_t lda, const bp_real *b, size_t ldb, bp_real beta, bp_real *out,
                           size_t ldc, const bp_real *bias, bp_activation act) {
    const struct bp_kernel_table *t = c->table;
    const size_t width = 2 * t->width;
    size_t kc, nc, blocks, j0, p0, i, j, panel_cols;
    bool direct;

    /* One row: no tiles. */
    if (m == 1 && !trans_b) {
        t->row(n, k, a, trans_a ? lda : 1, b, ldb, beta, out, bias);
        bpi_act_inplace(t, out, n, act);
        return;
    }
    /* One column of a transposed A, the gradient of a last layer: the same thing written as a row. */
    if (n == 1 && trans_a && ldc == 1 && !bias) {
        t->row(m, k, b, trans_b ? 1 : ldb, a, lda, beta, out, NULL);
        bpi_act_inplace(t, out, m, act);
        return;
    }
    /* One or two rows times a transposed B: dot products, for which nothing need be packed. */
    if (m <= 2 && trans_b && !trans_a) {
        for (i = 0; i < m; i++) {
            for (j = 0; j < n; j++) {
                bp_real sum = t->dot(a + i * lda, b + j * ldb, k);
                if (beta != BP_R(0)) sum += beta * out[i * ldc + j];
                out[i * ldc + j] = bias ? sum + bias[j] : sum;
            }
            bpi_act_inplace(t, out + i * ldc, n, act);
        }
        return;
    }
    /* One column: every row is a dot product with the same vector, provided both lie in one piece. */
    if (n == 1 && !trans_a && (trans_b || ldb == 1)) {
        for (i = 0; i < m; i++) {
            bp_real sum = t->dot(a + i * lda, b, k);
            if (beta != BP_R(0)) sum += beta * out[i * ldc];
            out[i * ldc] = bias ? sum + bias[0] : sum;
        }
        bpi_act_rows(t, out, m, 1, ldc, act);
        return;
    }

    /* Blocks of p of nearly equal size, at most BPI_KC; then as many columns as fit the scratch. */
    blocks = k ? (k + BPI_KC - 1) / BPI_KC : 1;
    kc = (k + blocks - 1) / blocks;
    nc = kc ? (c->pack_bytes / sizeof(bp_real) / kc - BPI_MAX_ROWS) / width * width : n;
    direct = !trans_b && (m <= 2 * t->rows || k * ldb * sizeof(bp_real) <= BPI_DIRECT_BYTES);
    if (nc == 0) nc = width;

    for (j0 = 0; j0 < n; j0 += nc) {
        const size_t cols = bpi_min_size(nc, n - j0);
        p0 = 0;
        do { /* at least once: with k = 0 the tiles still write beta C + bias */
            const size_t depth = bpi_min_size(kc, k - p0);
            const bool last = p0 + depth >= k;
            const bp_real scale = p0 ? BP_R(1) : beta;
            const bp_real *bias0 = bias && !p0 ? bias + j0 : NULL;

            for (j = 0; j < cols; j += width) {
                panel_cols = bpi_min_size(width, cols - j);
                if (trans_b)
                    bpi_pack_transposed(c->pack + j * depth, b + (j0 + j) * ldb + p0, ldb, depth, panel_cols, width);
                else if (!direct || panel_cols < width)
                    t->pack(c->pack + j * depth, b + p0 * ldb + j0 + j, ldb, depth, panel_cols);
            }

            i = 0;
            while (i < m) {
                size_t rows = bpi_min_size(t->rows, m - i);
                const bp_real *ai = trans_a ? a + p0 * lda + i : a + i * lda + p0;
                bp_real *ci = out + i * ldc + j0;
                size_t ai_step = lda;
                while (!t->tile[0][0][rows]) rows--;
                if (trans_a && cols > width && depth * lda * sizeof(bp_real) > BPI_FAR_BYTES) {
                    /* used for several panels, from lines too far apart to stay in the first-level cache */
                    bp_real *to = c->pack + (c->pack_bytes / sizeof(bp_real) - kc * BPI_MAX_ROWS);
                    bpi_pack_rows(to, ai, lda, depth, rows);
                    ai = to;
                    ai_step = rows;
                }
                for (j = 0; j < cols; j += width) {
                    const bool in_place = direct && cols - j >= width;
                    const bp_real *bj = in_place ? b + p0 * ldb + j0 + j : c->pack + j * depth;
                    panel_cols = bpi_min_size(width, cols - j);
                    t->tile[trans_a][panel_cols > t->width][rows](depth, ai, ai_step, bj, in_place ? ldb : width, scale,
                                                                  ci + j, ldc, bias0 ? bias0 + j : NULL, panel_cols);
                }
                if (last) bpi_act_rows(t, ci, rows, cols, ldc, act);
                i += rows;
            }
            p0 += depth;
        } while (p0 < k);
    }
}

/* --- 4.7 CBLAS ------------------------------------------------------------------------------------------------------ */

#ifdef BPRIOR_USE_CBLAS
#ifdef __cplusplus
extern "C" {
#endif
#include <cblas.h>
#ifdef __cplusplus
}
#endif

/* The library multiplies; bias and activation are one more pass. Small products are not worth its set-up. */
BPI_FN void bpi_gemm_cblas(const bp_compute *c, bool trans_a, bool trans_b, size_t m, size_t n, size_t k,
                           const bp_real *a, size_t lda, const bp_real *b, size_t ldb, bp_real beta, bp_real *out,
                           size_t ldc, const bp_real *bias, bp_activation act) {
    size_t i, j;
    const size_t most = (size_t)INT_MAX;
    if (m * n * k < 4096 || m > most || n > most || k > most || lda > most || ldb > most || ldc > most) {
        bpi_gemm_tiled(c, trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, out, ldc, bias, act);
        return;
    }
#ifdef BPRIOR_DOUBLE
    cblas_dgemm(
#else
    cblas_sgemm(
#endif
        CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k,
        BP_R(1), a, (int)lda, b, (int)ldb, beta, out, (int)ldc);
    if (bias)
        for (i = 0; i < m; i++)
            for (j = 0; j < n; j++) out[i * ldc + j] += bias[j];
    bpi_act_rows(c->table, out, m, n, ldc, act);
}
#endif

/* --- 4.8 choosing, and the public functions ------------------------------------------------------------------------- */

/* Elementwise, the plain loops are as good a reference as any: every kernel has their bits. */
/* clang-format off */
static const struct bp_kernel_table bpi_reference_table = {
    BP_KERNEL_REFERENCE, 1, 1, bpi_gemm_reference, NULL, bpi_dot_reference, NULL, bpi_vector_unary,
    bpi_vector_slope, bpi_vector_axpy, bpi_vector_sumsq,
    {{{0}, {0}}, {{0}, {0}}}};
/* clang-format on */

#ifdef BPRIOR_USE_CBLAS
#ifdef BPI_X86
#define BPI_CBLAS_ROWS bpi_avx2
#else
#define BPI_CBLAS_ROWS bpi_vector
#endif
#endif

BPRIOR_API const char *bp_kernel_name(bp_kernel kernel) {
    switch (kernel) {
    case BP_KERNEL_AUTO: return "auto";
    case BP_KERNEL_REFERENCE: return "reference";
    case BP_KERNEL_VECTOR: return "vector";
    case BP_KERNEL_AVX2: return "avx2";
    case BP_KERNEL_AVX512: return "avx512";
    case BP_KERNEL_NEON: return "neon";
    case BP_KERNEL_CBLAS: return "cblas";
    }
    return "unknown";
}

BPRIOR_API size_t bp_compute_bytes(void) { return BPI_PACK_BYTES; }

/* The table of a kernel, or NULL where this machine or build lacks it. */
BPI_FN const struct bp_kernel_table *bpi_kernel_find(bp_kernel kernel) {
    switch (kernel) {
    case BP_KERNEL_REFERENCE: return &bpi_reference_table;
    case BP_KERNEL_VECTOR: return &bpi_vector_table;
#ifdef BPI_X86
    case BP_KERNEL_AVX2: return bpi_cpu_level() >= 2 ? &bpi_avx2_table : NULL;
    case BP_KERNEL_AVX512: return bpi_cpu_level() >= 3 ? &bpi_avx512_table : NULL;
#else
    case BP_KERNEL_AVX2:
    case BP_KERNEL_AVX512: return NULL;
#endif
#ifdef BPI_NEON
    case BP_KERNEL_NEON: return &bpi_neon_table;
#else
    case BP_KERNEL_NEON: return NULL;
#endif
    case BP_KERNEL_AUTO:
    case BP_KERNEL_CBLAS: {
        static const bp_kernel order[] = {BP_KERNEL_AVX512, BP_KERNEL_AVX2, BP_KERNEL_NEON};
        size_t i;
#ifndef BPRIOR_USE_CBLAS
        if (kernel == BP_KERNEL_CBLAS) return NULL;
#endif
        for (i = 0; i < sizeof order / sizeof order[0]; i++) {
            const struct bp_kernel_table *t = bpi_kernel_find(order[i]);
            if (t) return t;
        }
        return &bpi_vector_table;
    }
    }
    return NULL;
}

BPRIOR_API bp_status bp_compute_init(bp_compute *c, bp_kernel want, void *mem, bp_error *error) {
    memset(c, 0, sizeof *c);
    if (!mem || (uintptr_t)mem % BP_ALIGN)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_compute_init: memory is %s", mem ? "not 64-byte aligned" : "NULL");
    c->table = bpi_kernel_find(want);
    if (!c->table)
        return bpi_fail(error, BP_ERR_UNSUPPORTED, "bp_compute_init: kernel '%s' is not available here",
                        bp_kernel_name(want));
    c->kernel = want == BP_KERNEL_CBLAS ? want : c->table->kernel;
    c->pack = (bp_real *)mem;
    c->pack_bytes = BPI_PACK_BYTES;
    return bpi_ok(error);
}

BPRIOR_API void bp_gemm(const bp_compute *c, bool trans_a, bool trans_b, size_t m, size_t n, size_t k, const bp_real *a,
                        size_t lda, const bp_real *b, size_t ldb, bp_real beta, bp_real *out, size_t ldc,
                        const bp_real *bias, bp_activation act) {
#ifdef BPRIOR_USE_CBLAS
    if (c->kernel == BP_KERNEL_CBLAS) {
        bpi_gemm_cblas(c, trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, out, ldc, bias, act);
        return;
    }
#endif
    c->table->gemm(c, trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, out, ldc, bias, act);
}

BPRIOR_API void bp_vec_act(const bp_compute *c, bp_real *y, const bp_real *x, size_t n, bp_activation act) {
    switch (act) {
    case BP_ACT_TANH: c->table->unary(y, x, n, BPI_TANH); break;
    case BP_ACT_ELU: c->table->unary(y, x, n, BPI_ELU); break;
    case BP_ACT_RELU: c->table->unary(y, x, n, BPI_RELU); break;
    case BP_ACT_SOFTPLUS: c->table->unary(y, x, n, BPI_SOFTPLUS); break;
    case BP_ACT_NONE:
        if (y != x && n) memmove(y, x, n * sizeof *y);
        break;
    }
}

BPRIOR_API void bp_vec_act_backward(const bp_compute *c, bp_real *dx, const bp_real *dy, const bp_real *y, size_t n,
                                    bp_activation act) {
    c->table->slope(dx, dy, y, n, act, true);
}

BPRIOR_API void bp_vec_act_backward_set(const bp_compute *c, bp_real *dx, const bp_real *dy, const bp_real *y, size_t n,
                                        bp_activation act) {
    c->table->slope(dx, dy, y, n, act, false);
}

BPRIOR_API void bp_vec_exp(const bp_compute *c, bp_real *y, const bp_real *x, size_t n) {
    c->table->unary(y, x, n, BPI_EXP);
}

BPRIOR_API void bp_vec_log(const bp_compute *c, bp_real *y, const bp_real *x, size_t n) {
    c->table->unary(y, x, n, BPI_LOG);
}

BPRIOR_API void bp_vec_tanh(const bp_compute *c, bp_real *y, const bp_real *x, size_t n) {
    c->table->unary(y, x, n, BPI_TANH);
}

BPRIOR_API void bp_vec_softplus(const bp_compute *c, bp_real *y, const bp_real *x, size_t n) {
    c->table->unary(y, x, n, BPI_SOFTPLUS);
}

BPRIOR_API void bp_vec_axpy(const bp_compute *c, bp_real *y, bp_real a, const bp_real *x, size_t n) {
    c->table->axpy(y, a, x, n);
}

BPRIOR_API bp_real bp_vec_dot(const bp_compute *c, const bp_real *x, const bp_real *y, size_t n) {
    return c->table->dot(x, y, n);
}

BPRIOR_API double bp_vec_sumsq(const bp_compute *c, const bp_real *x, size_t n) { return c->table->sumsq(x, n); }

/* 1 * x is x, so axpy adds rows without rounding anything but the sums. */
BPRIOR_API void bp_vec_sum_rows(const bp_compute *c, bp_real *out, const bp_real *x, size_t m, size_t n, size_t ldx) {
    size_t i;
    for (i = 0; i < m; i++) c->table->axpy(out, BP_R(1), x + i * ldx, n);
}

/* --- 4.9 threads ----------------------------------------------------------------------------------------------------
 *
 * Jobs are handed out under one mutex: an index is taken, the mutex released, the job run. A worker that wakes late finds
 * no index left and sleeps again, so nobody has to wait for it. Before it sleeps it looks at `posted` for some tens of
 * microseconds, because the next batch of a training step usually comes within that time. */

#ifdef BPRIOR_THREADS
#include <pthread.h>

#if (defined(__GNUC__) || defined(__clang__)) && !defined(__TINYC__)
#define BPI_ATOMIC_LOAD(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define BPI_ATOMIC_STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define BPI_SPINS 400
#if defined(__x86_64__) || defined(__i386__)
#define BPI_RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define BPI_RELAX() __asm__ volatile("yield")
#else
#define BPI_RELAX() ((void)0)
#endif
#else /* no atomics: never look outside the mutex */
#define BPI_ATOMIC_LOAD(p) (*(p))
#define BPI_ATOMIC_STORE(p, v) (*(p) = (v))
#define BPI_SPINS 0
#define BPI_RELAX() ((void)0)
#endif

typedef struct bpi_worker {
    struct bp_team *team;
    size_t index;
    pthread_t thread;
} bpi_worker;

struct bp_team {
    bp_allocator allocator;
    bool own_allocator; /* allocator is the caller's, not malloc */
    size_t threads, bytes;
    pthread_mutex_t mutex;
    pthread_cond_t work, idle; /* there are jobs, or the end has come; all jobs are done */
    bp_job job;
    void *ctx;
    size_t jobs, next, done;
    unsigned posted;    /* counts batches; written under the mutex, also looked at outside */
    unsigned completed; /* the last batch that is done; likewise */
    bool stop;
    bpi_worker *worker; /* [threads], entry 0 unused */
};

/* Runs jobs until there is none left to take. Called and returns with the mutex held. */
BPI_FN void bpi_team_work(bp_team *t, size_t worker) {
    while (t->next < t->jobs) {
        size_t index = t->next++;
        bp_job job = t->job;
        void *ctx = t->ctx;
        pthread_mutex_unlock(&t->mutex);
        job(ctx, index, worker);
        pthread_mutex_lock(&t->mutex);
        if (++t->done == t->jobs) {
            BPI_ATOMIC_STORE(&t->completed, t->posted);
            pthread_cond_signal(&t->idle);
        }
    }
}

BPI_FN void *bpi_team_main(void *arg) {
    bpi_worker *self = (bpi_worker *)arg;
    bp_team *t = self->team;
    unsigned seen = 0;
    int spin;
    pthread_mutex_lock(&t->mutex);
    while (!t->stop) {
        bpi_team_work(t, self->index);
        seen = t->posted;
        pthread_mutex_unlock(&t->mutex);
        for (spin = 0; spin < BPI_SPINS && BPI_ATOMIC_LOAD(&t->posted) == seen; spin++) BPI_RELAX();
        pthread_mutex_lock(&t->mutex);
        while (!t->stop && t->posted == seen) pthread_cond_wait(&t->work, &t->mutex);
    }
    pthread_mutex_unlock(&t->mutex);
    return NULL;
}

/* Stops and joins workers 1 .. count - 1 and frees everything. */
BPI_FN void bpi_team_end(bp_team *t, size_t count) {
    bp_allocator allocator = t->allocator;
    bool own = t->own_allocator;
    size_t i;
    pthread_mutex_lock(&t->mutex);
    t->stop = true;
    BPI_ATOMIC_STORE(&t->posted, t->posted + 1u); /* ends the spinning too */
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->mutex);
    for (i = 1; i < count; i++) pthread_join(t->worker[i].thread, NULL);
    pthread_cond_destroy(&t->idle);
    pthread_cond_destroy(&t->work);
    pthread_mutex_destroy(&t->mutex);
    bp_free(own ? &allocator : NULL, t, t->bytes);
}

BPRIOR_API bp_status bp_team_create(bp_team **out, size_t threads, const bp_allocator *allocator, bp_error *error) {
    bp_team *t;
    size_t bytes, i;
    *out = NULL;
    if (threads < 1) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_team_create: 0 threads; at least 1 is needed");
    if (!bp_size_mul(&bytes, threads, sizeof(bpi_worker)) || !bp_size_add(&bytes, bytes, sizeof(bp_team)))
        return bpi_fail(error, BP_ERR_SIZE, "bp_team_create: %zu threads overflow a size", threads);
    t = (bp_team *)bp_alloc(allocator, bytes);
    if (!t) return bpi_fail(error, BP_ERR_MEMORY, "bp_team_create: no memory for %zu threads", threads);
    t->own_allocator = allocator != NULL;
    if (allocator) t->allocator = *allocator;
    t->threads = threads;
    t->bytes = bytes;
    t->worker = (bpi_worker *)(void *)(t + 1);
    if (pthread_mutex_init(&t->mutex, NULL)) goto no_mutex;
    if (pthread_cond_init(&t->work, NULL)) goto no_work;
    if (pthread_cond_init(&t->idle, NULL)) goto no_idle;
    for (i = 1; i < threads; i++) {
        int code;
        t->worker[i].team = t;
        t->worker[i].index = i;
        code = pthread_create(&t->worker[i].thread, NULL, bpi_team_main, &t->worker[i]);
        if (code) {
            bpi_team_end(t, i);
            return bpi_fail(error, BP_ERR_THREAD, "bp_team_create: thread %zu of %zu could not be started (error %d)",
                            i + 1, threads, code);
        }
    }
    *out = t;
    return bpi_ok(error);
no_idle:
    pthread_cond_destroy(&t->work);
no_work:
    pthread_mutex_destroy(&t->mutex);
no_mutex:
    bp_free(allocator, t, bytes);
    return bpi_fail(error, BP_ERR_THREAD, "bp_team_create: the system refused a mutex or a condition variable");
}

BPRIOR_API void bp_team_run(bp_team *team, bp_job job, void *ctx, size_t jobs) {
    size_t i;
    unsigned mine;
    int spin;
    if (!team || team->threads == 1 || jobs <= 1) {
        for (i = 0; i < jobs; i++) job(ctx, i, 0);
        return;
    }
    pthread_mutex_lock(&team->mutex);
    team->job = job;
    team->ctx = ctx;
    team->jobs = jobs;
    team->next = 0;
    team->done = 0;
    mine = team->posted + 1u;
    BPI_ATOMIC_STORE(&team->posted, mine);
    pthread_cond_broadcast(&team->work);
    bpi_team_work(team, 0);
    if (team->completed != mine) {
        pthread_mutex_unlock(&team->mutex);
        for (spin = 0; spin < BPI_SPINS && BPI_ATOMIC_LOAD(&team->completed) != mine; spin++) BPI_RELAX();
        pthread_mutex_lock(&team->mutex);
        while (team->completed != mine) pthread_cond_wait(&team->idle, &team->mutex);
    }
    pthread_mutex_unlock(&team->mutex);
}

BPRIOR_API size_t bp_team_threads(const bp_team *team) { return team ? team->threads : 1; }

BPRIOR_API void bp_team_destroy(bp_team *team) {
    if (team) bpi_team_end(team, team->threads);
}

#else /* no threads: a team of one */

struct bp_team {
    bp_allocator allocator;
    bool own_allocator;
};

BPRIOR_API bp_status bp_team_create(bp_team **out, size_t threads, const bp_allocator *allocator, bp_error *error) {
    bp_team *t;
    *out = NULL;
    if (threads < 1) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_team_create: 0 threads; at least 1 is needed");
    if (threads > 1)
        return bpi_fail(error, BP_ERR_UNSUPPORTED, "bp_team_create: %zu threads need a build with BPRIOR_THREADS",
                        threads);
    t = (bp_team *)bp_alloc(allocator, sizeof *t);
    if (!t) return bpi_fail(error, BP_ERR_MEMORY, "bp_team_create: no memory");
    t->own_allocator = allocator != NULL;
    if (allocator) t->allocator = *allocator;
    *out = t;
    return bpi_ok(error);
}

BPRIOR_API void bp_team_run(bp_team *team, bp_job job, void *ctx, size_t jobs) {
    size_t i;
    BPI_UNUSED(team);
    for (i = 0; i < jobs; i++) job(ctx, i, 0);
}

BPRIOR_API size_t bp_team_threads(const bp_team *team) {
    BPI_UNUSED(team);
    return 1;
}

BPRIOR_API void bp_team_destroy(bp_team *team) {
    if (team) {
        bp_allocator allocator = team->allocator;
        bp_free(team->own_allocator ? &allocator : NULL, team, sizeof *team);
    }
}

#endif /* BPRIOR_THREADS */

/* ==========================================================================
 * 5. >>distributions   Distributions and their derivatives
 *    provides: bp_gaussian_*  bp_categorical_*
 *    needs: 1, 3, 4        equations: E32 E33
 * ========================================================================== */

#define BPI_LOG_2PI BP_R(1.8378770664093454836) /* log(2 pi)   */

/* --- 5.1 The diagonal Gaussian (E32) ------------------------------------- */

/* The density of one component, with z = (a - mean) / std:
 *     p(a)     = exp(-z^2/2) / (std sqrt(2 pi))
 *     log p(a) = -z^2/2 - log std - log(2 pi)/2
 */
BPRIOR_API bp_real bp_gaussian_log_prob(const bp_real *a, const bp_real *mean, const bp_real *std, size_t dim) {
    bp_real sum = 0;
    for (size_t i = 0; i < dim; i++) {
        const bp_real z = (a[i] - mean[i]) / std[i];
        sum += BP_R(0.5) * z * z + bp_log(std[i]);
    }
    return -sum - BP_R(0.5) * BPI_LOG_2PI * (bp_real)dim;
}

/* dz/da = 1/std, dz/dmean = -1/std, dz/dstd = -z/std, and so
 *     d log p / da    = -z / std
 *     d log p / dmean =  z / std
 *     d log p / dstd  = (z^2 - 1) / std
 * The derivative by std is positive exactly for points further out than one standard deviation: they ask for a
 * wider Gaussian. z^2 - 1 is written (z - 1)(z + 1), which keeps its digits near z = 1.
 */
BPRIOR_API void bp_gaussian_log_prob_backward(bp_real *da, bp_real *dmean, bp_real *dstd, bp_real dout, const bp_real *a,
                                              const bp_real *mean, const bp_real *std, size_t dim) {
    for (size_t i = 0; i < dim; i++) {
        const bp_real z = (a[i] - mean[i]) / std[i];
        const bp_real slope = dout * z / std[i];
        // in the forward pass this was:
        // sum += 0.5 z z + log std;   and the result is -sum
        if (da) da[i] -= slope;
        if (dmean) dmean[i] += slope;
        if (dstd) dstd[i] += dout * (z - 1) * (z + 1) / std[i];
    }
}

/* H = -E[log p] = E[z^2]/2 + log std + log(2 pi)/2 = log std + (1 + log(2 pi))/2, because E[z^2] = 1. */
BPRIOR_API bp_real bp_gaussian_entropy(const bp_real *std, size_t dim) {
    bp_real sum = 0;
    for (size_t i = 0; i < dim; i++) sum += bp_log(std[i]);
    return sum + BP_R(0.5) * (1 + BPI_LOG_2PI) * (bp_real)dim;
}

BPRIOR_API void bp_gaussian_entropy_backward(bp_real *dstd, bp_real dout, const bp_real *std, size_t dim) {
    // in the forward pass this was:
    // sum += log(std[i]);
    for (size_t i = 0; i < dim; i++) dstd[i] += dout / std[i];
}

/* q - log(1 + q) for q > -1, given ratio^2 = 1 + q: zero at q = 0, positive elsewhere, about q^2/2 near 0.
 *
 * Subtracting the two directly leaves an error of eps*q where the answer is q^2/2. With s = q/(2+q), hence
 * q - 2s = q s and log(1+q) = log((1+s)/(1-s)) = 2(s + s^3/3 + s^5/5 + ...),
 *     q - log(1+q) = q s - 2(s^3/3 + s^5/5 + ...)
 * in which nothing cancels: the first term is about q^2/2, the second about q^3/12. For |q| <= 1/4 we have |s| <= 1/7,
 * and eight terms of the series leave s^19/19 < 1e-17.
 */
BPI_FN bp_real bpi_minus_log1p(bp_real q, bp_real ratio) {
    if (q > BP_R(0.25) || q < BP_R(-0.25)) return q - 2 * bp_log(ratio);
    const bp_real s = q / (2 + q), w = s * s;
    bp_real series = BP_R(1.0 / 17);
    series = series * w + BP_R(1.0 / 15);
    series = series * w + BP_R(1.0 / 13);
    series = series * w + BP_R(1.0 / 11);
    series = series * w + BP_R(1.0 / 9);
    series = series * w + BP_R(1.0 / 7);
    series = series * w + BP_R(1.0 / 5);
    series = series * w + BP_R(1.0 / 3);
    return q * s - 2 * s * w * series;
}

/* KL[N(mean,std) || N(mean0,std0)] of one component. Under the first density E[(a-mean)^2] = std^2 and
 * E[(a-mean0)^2] = std^2 + (mean-mean0)^2, so
 *     KL = E[log p - log p0] = log(std0/std) - 1/2 + (std^2 + (mean-mean0)^2) / (2 std0^2).
 * Now let  q = std^2/std0^2 - 1  and  z = (mean - mean0)/std0:
 *     KL = ( q - log(1+q) + z^2 ) / 2
 * a sum of two terms that are both >= 0. q itself comes from t = (std - std0)/std0 as q = t(t + 2), since
 * subtracting the nearly equal numbers first is exact and squaring first is not. The log is taken of std/std0, not of
 * its square, so that a std of 1e-30 does not underflow.
 */
BPRIOR_API bp_real bp_gaussian_kl(const bp_real *mean, const bp_real *std, const bp_real *mean0, const bp_real *std0, size_t dim) {
    bp_real sum = 0;
    for (size_t i = 0; i < dim; i++) {
        const bp_real t = (std[i] - std0[i]) / std0[i];
        const bp_real z = (mean[i] - mean0[i]) / std0[i];
        sum += bpi_minus_log1p(t * (t + 2), std[i] / std0[i]) + z * z;
    }
    return BP_R(0.5) * sum;
}

/* The four partial derivatives, from the first form above and then in the code's q and z:
 *     dKL/dmean  =  (mean - mean0) / std0^2                                     =  z / std0
 *     dKL/dmean0 = -(mean - mean0) / std0^2                                     = -z / std0
 *     dKL/dstd   =  std / std0^2 - 1 / std                                      =  q / std
 *     dKL/dstd0  =  1 / std0 - (std^2 + (mean-mean0)^2) / std0^3                = -(q + z^2) / std0
 */
BPRIOR_API void bp_gaussian_kl_backward(bp_real *dmean, bp_real *dstd, bp_real *dmean0, bp_real *dstd0, bp_real dout,
                                        const bp_real *mean, const bp_real *std, const bp_real *mean0, const bp_real *std0,
                                        size_t dim) {
    for (size_t i = 0; i < dim; i++) {
        const bp_real t = (std[i] - std0[i]) / std0[i], q = t * (t + 2);
        const bp_real z = (mean[i] - mean0[i]) / std0[i];
        // in the forward pass this was:
        // sum += q - log(1 + q) + z z;   and the result is sum / 2
        if (dmean) dmean[i] += dout * z / std0[i];
        if (dmean0) dmean0[i] -= dout * z / std0[i];
        if (dstd) dstd[i] += dout * q / std[i];
        if (dstd0) dstd0[i] -= dout * (q + z * z) / std0[i];
    }
}

/* KL[p || uniform] = E[log p] - E[log(1/volume)] = -H + log volume, for a p that lives inside the box. */
BPRIOR_API bp_real bp_gaussian_kl_uniform_box(const bp_real *std, size_t dim, bp_real log_volume) {
    return log_volume - bp_gaussian_entropy(std, dim);
}

BPRIOR_API void bp_gaussian_sample(bp_real *a, const bp_real *mean, const bp_real *std, const bp_real *noise, size_t dim) {
    for (size_t i = 0; i < dim; i++) a[i] = mean[i] + std[i] * noise[i];
}

BPRIOR_API void bp_gaussian_sample_backward(bp_real *dmean, bp_real *dstd, const bp_real *da, const bp_real *noise, size_t dim) {
    for (size_t i = 0; i < dim; i++) {
        // in the forward pass this was:
        // a[i] = mean[i] + std[i] * noise[i];
        if (dmean) dmean[i] += da[i];
        if (dstd) dstd[i] += da[i] * noise[i];
    }
}

/* --- 5.2 The categorical distribution (E33) ------------------------------- */

/* log p[i] = logits[i] - log sum_j exp(logits[j]).
 *
 * Adding a constant to all logits changes nothing, so the largest is subtracted first: the exponentials are then at
 * most 1 and at least one of them is 1, hence 1 <= sum <= n and neither exp nor log can leave its range. The two halves of
 * the normaliser are kept apart, since (logits[i] - top) is exact where logits[i] - (top + log_sum) would round to the
 * size of top.
 */
typedef struct bpi_normaliser_logits {
    bp_real top;     /* the largest logit */
    bp_real log_sum; /* log sum_j exp(logits[j] - top) */
} bpi_normaliser_logits;

BPI_FN bpi_normaliser_logits bpi_logits_normaliser(const bp_real *logits, size_t n) {
    bpi_normaliser_logits z;
    bp_real sum = 0;
    z.top = logits[0];
    for (size_t i = 1; i < n; i++)
        if (logits[i] > z.top) z.top = logits[i];
    for (size_t i = 0; i < n; i++) sum += bp_exp(logits[i] - z.top);
    z.log_sum = bp_log(sum);
    return z;
}

BPI_FN bp_real bpi_logp(bp_real logit, bpi_normaliser_logits z) { return (logit - z.top) - z.log_sum; }

BPRIOR_API void bp_categorical_log_softmax(bp_real *logp, const bp_real *logits, size_t n) {
    const bpi_normaliser_logits z = bpi_logits_normaliser(logits, n);
    for (size_t i = 0; i < n; i++) logp[i] = bpi_logp(logits[i], z);
}

/* d logp[j] / d logits[i] = (i == j) - p[i], so a derivative dlogp of every log-probability pulls back to
 *     dlogits[i] = sum_j dlogp[j] ((i == j) - p[i]) = dlogp[i] - p[i] sum_j dlogp[j]
 */
BPRIOR_API void bp_categorical_log_softmax_backward(bp_real *dlogits, const bp_real *dlogp, const bp_real *logp, size_t n) {
    bp_real sum = 0;
    for (size_t i = 0; i < n; i++) sum += dlogp[i];
    for (size_t i = 0; i < n; i++) {
        // in the forward pass this was:
        // logp[i] = logits[i] - log sum_j exp(logits[j]);
        dlogits[i] += dlogp[i] - bp_exp(logp[i]) * sum;
    }
}

BPRIOR_API bp_real bp_categorical_log_prob(const bp_real *logits, size_t index, size_t n) {
    return bpi_logp(logits[index], bpi_logits_normaliser(logits, n));
}

BPRIOR_API void bp_categorical_log_prob_backward(bp_real *dlogits, bp_real dout, const bp_real *logits, size_t index, size_t n) {
    const bpi_normaliser_logits z = bpi_logits_normaliser(logits, n);
    // in the forward pass this was:
    // out = logits[index] - log sum_j exp(logits[j]);
    dlogits[index] += dout;
    for (size_t i = 0; i < n; i++) dlogits[i] -= dout * bp_exp(bpi_logp(logits[i], z));
}

/* H = -sum p log p. A forbidden choice has p = 0 and log p = -inf; its limit p log p = 0 is taken by leaving it out. */
BPRIOR_API bp_real bp_categorical_entropy(const bp_real *logits, size_t n) {
    const bpi_normaliser_logits z = bpi_logits_normaliser(logits, n);
    bp_real sum = 0;
    for (size_t i = 0; i < n; i++) {
        const bp_real logp = bpi_logp(logits[i], z), p = bp_exp(logp);
        if (p > 0) sum -= p * logp;
    }
    return sum;
}

/* dH/dlogp[j] = -p[j] (log p[j] + 1), because p = exp(log p) moves as well. Through the softmax, as above,
 *     dH/dlogits[i] = -p[i] (log p[i] + 1) + p[i] sum_j p[j] (log p[j] + 1)
 *                   = -p[i] (log p[i] + 1) + p[i] (1 - H)
 *                   = -p[i] (log p[i] + H)
 */
BPRIOR_API void bp_categorical_entropy_backward(bp_real *dlogits, bp_real dout, const bp_real *logits, size_t n) {
    const bpi_normaliser_logits z = bpi_logits_normaliser(logits, n);
    const bp_real H = bp_categorical_entropy(logits, n);
    for (size_t i = 0; i < n; i++) {
        const bp_real logp = bpi_logp(logits[i], z), p = bp_exp(logp);
        // in the forward pass this was:
        // sum -= p * logp;
        if (p > 0) dlogits[i] -= dout * p * (logp + H);
    }
}

/* One choice's share of KL[p||p0] = sum p (log p - log p0). With r = log p - log p0 the sum of p r has terms of both
 * signs that nearly cancel when p is close to p0. Adding p0 - p to each, which sums to zero, gives terms
 *     p r + p0 - p = p (exp(-r) - 1 + r)
 * none of which is negative; near r = 0 the bracket is r^2/2 - r^3/6 + ..., taken from its series, so that no digits are
 * lost beyond those of r itself and KL = 0 comes out as 0. For |r| <= 1/4 nine terms leave less than 1e-13 of the first.
 */
BPI_FN bp_real bpi_categorical_kl_term(bp_real logp, bp_real logp0) {
    const bp_real p = bp_exp(logp), p0 = bp_exp(logp0);
    if (p == 0) return p0; /* the limit of the term: a choice that p never makes */
    const bp_real r = logp - logp0;
    if (r > BP_R(0.25) || r < BP_R(-0.25)) return p * r + (p0 - p);
    bp_real series = 1; /* 1 - r/3 (1 - r/4 (1 - r/5 ( ... ))) */
    for (int k = 11; k >= 3; k--) series = 1 - r / (bp_real)k * series;
    return p * r * r * BP_R(0.5) * series;
}

BPRIOR_API bp_real bp_categorical_kl(const bp_real *logits, const bp_real *logits0, size_t n) {
    const bpi_normaliser_logits z = bpi_logits_normaliser(logits, n), z0 = bpi_logits_normaliser(logits0, n);
    bp_real sum = 0;
    for (size_t i = 0; i < n; i++) sum += bpi_categorical_kl_term(bpi_logp(logits[i], z), bpi_logp(logits0[i], z0));
    return sum;
}

/* By the first logits: d/dlogp[j] of sum p (log p - log p0) is p[j] (r[j] + 1), r = log p - log p0, and through the softmax
 *     dKL/dlogits[i]  = p[i] (r[i] + 1) - p[i] sum_j p[j] (r[j] + 1) = p[i] (r[i] - KL)
 * By the second: d/dlogp0[j] is -p[j], these sum to -1, and
 *     dKL/dlogits0[i] = p0[i] - p[i]
 * which says what fitting a prior does: move its probabilities towards the policy's (E17).
 */
BPRIOR_API void bp_categorical_kl_backward(bp_real *dlogits, bp_real *dlogits0, bp_real dout, const bp_real *logits,
                                           const bp_real *logits0, size_t n) {
    const bpi_normaliser_logits z = bpi_logits_normaliser(logits, n), z0 = bpi_logits_normaliser(logits0, n);
    const bp_real kl = bp_categorical_kl(logits, logits0, n);
    for (size_t i = 0; i < n; i++) {
        const bp_real logp = bpi_logp(logits[i], z), logp0 = bpi_logp(logits0[i], z0);
        const bp_real p = bp_exp(logp);
        // in the forward pass this was:
        // sum += p * (logp - logp0);
        if (dlogits && p > 0) dlogits[i] += dout * p * ((logp - logp0) - kl);
        if (dlogits0) dlogits0[i] += dout * (bp_exp(logp0) - p);
    }
}

BPRIOR_API bp_real bp_categorical_kl_uniform(const bp_real *logits, size_t n) {
    const bpi_normaliser_logits z = bpi_logits_normaliser(logits, n);
    const bp_real logp0 = -bp_log((bp_real)n);
    bp_real sum = 0;
    for (size_t i = 0; i < n; i++) sum += bpi_categorical_kl_term(bpi_logp(logits[i], z), logp0);
    return sum;
}

/* Inversion: walk along the choices until their weights exp(logits - top) add up to a uniform fraction of the total.
 * Rounding may leave the walk a hair short of the end; then the last choice that is possible at all is taken. */
BPRIOR_API size_t bp_categorical_sample(bp_rng *rng, const bp_real *logits, size_t n) {
    const bpi_normaliser_logits z = bpi_logits_normaliser(logits, n);
    double total = 0, seen = 0;
    size_t choice = 0;
    for (size_t i = 0; i < n; i++) total += (double)bp_exp(logits[i] - z.top);
    const double mark = bp_rng_uniform(rng) * total;
    for (size_t i = 0; i < n; i++) {
        const double weight = (double)bp_exp(logits[i] - z.top);
        if (!(weight > 0)) continue;
        choice = i;
        seen += weight;
        if (mark < seen) break;
    }
    return choice;
}

/* ==========================================================================
 * 6. >>layers   Layers
 *    provides: bp_linear_*  bp_layer_norm_*  bp_gaussian_head_*  bp_lstm_*  bp_init_variance_scaling
 *    needs: 1, 3, 4        equations: E35
 * ========================================================================== */

/* --- 6.1 Linear (E35) ------------------------------------------------------ */

BPRIOR_API void bp_linear_eval(const bp_compute *c, bp_real *y, const bp_real *x, const bp_real *w, const bp_real *b, size_t n,
                               size_t in, size_t out, bp_activation act) {
    bp_gemm(c, false, false, n, out, in, x, in, w, out, 0, y, out, b, act);
}

BPRIOR_API void bp_linear_forward(const bp_compute *c, bp_real *y, const bp_real *x, const bp_real *w, const bp_real *b, size_t n,
                                  size_t in, size_t out, bp_activation act) {
    bp_linear_eval(c, y, x, w, b, n, in, out, act);
}

/* y[i][j] = sum_k x[i][k] w[k][j] + b[j]. Each product hands its derivative to both factors:
 *     dx[i][k] += sum_j dy[i][j] w[k][j]     dx += dy w^T    (n x out times out x in)
 *     dw[k][j] += sum_i x[i][k] dy[i][j]     dw += x^T dy    (in x n times n x out)
 *     db[j]    += sum_i dy[i][j]
 * The transposes are read in place by bp_gemm.
 */
BPRIOR_API void bp_linear_backward(const bp_compute *c, bp_real *dx, bp_real *dw, bp_real *db, const bp_real *dy,
                                   const bp_real *x, const bp_real *w, size_t n, size_t in, size_t out) {
    // in the forward pass this was:
    // y = x w + b;
    if (dw) bp_gemm(c, true, false, in, out, n, x, in, dy, out, 1, dw, out, NULL, BP_ACT_NONE);
    if (db) bp_vec_sum_rows(c, db, dy, n, out, out);
    if (dx) bp_linear_backward_input(c, dx, dy, w, n, in, out);
}

BPRIOR_API void bp_linear_backward_input(const bp_compute *c, bp_real *dx, const bp_real *dy, const bp_real *w, size_t n,
                                         size_t in, size_t out) {
    bp_gemm(c, false, true, n, in, out, dy, out, w, out, 1, dx, in, NULL, BP_ACT_NONE);
}

/* --- 6.2 Layer normalisation (E35) ------------------------------------------ */

/* The loops below go through a row in groups of eight numbers, with the rest at the end, and keep a sum in eight running
 * sums. Compilers turn such a group into one or two vector instructions, also where they would not dare to reorder a
 * plain sum; and as the order is written down here, the result does not depend on what they do. */
BPI_INLINE bp_real bpi_add8(const bp_real *s) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* Pass 1: mean of the row. Pass 2: variance about that mean (two passes, because E[x^2] - mean^2 cancels when the mean is
 * large), and r = 1/sqrt(variance + epsilon). Pass 3: y = gain (x - mean) r + shift. y may be x. */
BPI_FN void bpi_layer_norm_row(bp_real *y, bp_real *saved, const bp_real *x, const bp_real *BPI_RESTRICT gain,
                               const bp_real *BPI_RESTRICT shift, size_t dim) {
    bp_real s[8] = {0, 0, 0, 0, 0, 0, 0, 0}, v[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    const size_t whole = dim - dim % 8, rest = dim % 8;
    size_t i, k;

    /* pass 1 */
    for (i = 0; i < whole; i += 8)
        for (k = 0; k < 8; k++) s[k] += x[i + k];
    for (k = 0; k < rest; k++) s[k] += x[whole + k];
    const bp_real mean = bpi_add8(s) / (bp_real)dim;

    /* pass 2 */
    for (i = 0; i < whole; i += 8)
        for (k = 0; k < 8; k++) {
            const bp_real d = x[i + k] - mean;
            v[k] += d * d;
        }
    for (k = 0; k < rest; k++) {
        const bp_real d = x[whole + k] - mean;
        v[k] += d * d;
    }
    const bp_real r = 1 / bpi_sqrt(bpi_add8(v) / (bp_real)dim + BP_R(BP_LAYER_NORM_EPSILON));

    /* pass 3, by way of a small array so that a group is read before it is written */
    for (i = 0; i < whole; i += 8) {
        bp_real t[8];
        for (k = 0; k < 8; k++) t[k] = gain[i + k] * ((x[i + k] - mean) * r) + shift[i + k];
        for (k = 0; k < 8; k++) y[i + k] = t[k];
    }
    for (i = whole; i < dim; i++) y[i] = gain[i] * ((x[i] - mean) * r) + shift[i];
    if (saved) {
        saved[0] = mean;
        saved[1] = r;
    }
}

BPRIOR_API void bp_layer_norm_forward(bp_real *y, bp_real *saved, const bp_real *x, const bp_real *gain, const bp_real *shift,
                                      size_t n, size_t dim) {
    for (size_t row = 0; row < n; row++)
        bpi_layer_norm_row(y + row * dim, saved ? saved + 2 * row : NULL, x + row * dim, gain, shift, dim);
}

BPRIOR_API void bp_layer_norm_eval(bp_real *y, const bp_real *x, const bp_real *gain, const bp_real *shift, size_t n, size_t dim) {
    bp_layer_norm_forward(y, NULL, x, gain, shift, n, dim);
}

/* One row, D = dim:  mean = sum x / D,  var = sum (x - mean)^2 / D,  r = (var + eps)^(-1/2),  xhat = (x - mean) r,
 *     y = gain xhat + shift.
 * The easy part:  dshift[i] += dy[i],  dgain[i] += dy[i] xhat[i],  and let  h[i] = dy[i] gain[i]  be the derivative by xhat.
 * Each x[j] moves every xhat[i], directly, through the mean, and through r:
 *     dmean/dx[j] = 1/D
 *     dr/dx[j]    = -1/2 (var+eps)^(-3/2) dvar/dx[j] = -r^3 (x[j] - mean)/D = -r^2 xhat[j]/D
 *     dxhat[i]/dx[j] = r ((i == j) - 1/D) + (x[i] - mean) dr/dx[j]
 *                    = r ((i == j) - 1/D - xhat[i] xhat[j]/D)
 * (var's own dependence on the mean drops out, since sum (x - mean) = 0.) Summing h[i] dxhat[i]/dx[j] over i:
 *     dx[j] = r ( h[j] - average(h) - xhat[j] average(h xhat) )
 * In words: the row's gradient loses its components along the two directions that normalisation removes from x, a common
 * shift and a common stretch.
 *
 * With `add` the result is added to dx; without, it replaces dx, which may then be dy. */
BPI_FN void bpi_layer_norm_backward_row(bp_real *dx, bool add, const bp_real *dy, bp_real mean, bp_real r,
                                        const bp_real *BPI_RESTRICT x, const bp_real *BPI_RESTRICT gain, size_t dim) {
    bp_real s[8] = {0, 0, 0, 0, 0, 0, 0, 0}, t[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    const size_t whole = dim - dim % 8, rest = dim % 8;
    size_t i, k;
    for (i = 0; i < whole; i += 8)
        for (k = 0; k < 8; k++) {
            const bp_real h = dy[i + k] * gain[i + k];
            s[k] += h;
            t[k] += h * ((x[i + k] - mean) * r);
        }
    for (k = 0; k < rest; k++) {
        const bp_real h = dy[whole + k] * gain[whole + k];
        s[k] += h;
        t[k] += h * ((x[whole + k] - mean) * r);
    }
    const bp_real average_h = bpi_add8(s) / (bp_real)dim, average_hx = bpi_add8(t) / (bp_real)dim;

    // in the forward pass this was:
    // xhat = (x[i] - mean) * r;
    for (i = 0; i < whole; i += 8) {
        bp_real d[8];
        for (k = 0; k < 8; k++) d[k] = r * (dy[i + k] * gain[i + k] - average_h - (x[i + k] - mean) * r * average_hx);
        if (add) {
            for (k = 0; k < 8; k++) d[k] += dx[i + k];
        }
        for (k = 0; k < 8; k++) dx[i + k] = d[k];
    }
    for (i = whole; i < dim; i++) {
        const bp_real d = r * (dy[i] * gain[i] - average_h - (x[i] - mean) * r * average_hx);
        dx[i] = add ? dx[i] + d : d;
    }
}

/* dgain[i] += dy[i] xhat[i] and dshift[i] += dy[i], of one row; either may be NULL. */
BPI_FN void bpi_layer_norm_backward_gain(bp_real *BPI_RESTRICT dgain, bp_real *BPI_RESTRICT dshift,
                                         const bp_real *BPI_RESTRICT dy, bp_real mean, bp_real r,
                                         const bp_real *BPI_RESTRICT x, size_t dim) {
    const size_t whole = dim - dim % 8;
    size_t i, k;
    // in the forward pass this was:
    // y[i] = gain[i] * xhat + shift[i];
    if (dgain) {
        for (i = 0; i < whole; i += 8)
            for (k = 0; k < 8; k++) dgain[i + k] += dy[i + k] * ((x[i + k] - mean) * r);
        for (; i < dim; i++) dgain[i] += dy[i] * ((x[i] - mean) * r);
    }
    if (dshift) {
        for (i = 0; i < whole; i += 8)
            for (k = 0; k < 8; k++) dshift[i + k] += dy[i + k];
        for (; i < dim; i++) dshift[i] += dy[i];
    }
}

BPRIOR_API void bp_layer_norm_backward(bp_real *dx, bp_real *dgain, bp_real *dshift, const bp_real *dy, const bp_real *saved,
                                       const bp_real *x, const bp_real *gain, size_t n, size_t dim) {
    for (size_t row = 0; row < n; row++) {
        const bp_real *xr = x + row * dim, *dyr = dy + row * dim;
        const bp_real mean = saved[2 * row], r = saved[2 * row + 1];
        bpi_layer_norm_backward_gain(dgain, dshift, dyr, mean, r, xr, dim);
        if (dx) bpi_layer_norm_backward_row(dx + row * dim, true, dyr, mean, r, xr, gain, dim);
    }
}

BPRIOR_API void bp_layer_norm_backward_input(bp_real *dx, const bp_real *dy, const bp_real *saved, const bp_real *x,
                                             const bp_real *gain, size_t n, size_t dim) {
    bp_layer_norm_backward(dx, NULL, NULL, dy, saved, x, gain, n, dim);
}

/* --- 6.3 The Gaussian head (E35) -------------------------------------------- */

BPRIOR_API bp_gaussian_head bp_gaussian_head_default(void) {
    bp_gaussian_head head;
    head.init_std = 0.7;
    head.min_std = 0.1;
    head.tanh_mean = true;
    return head;
}

BPRIOR_API bp_status bp_gaussian_head_check(const bp_gaussian_head *head, bp_error *error) {
    if (!head) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_gaussian_head: is NULL");
    if (!(head->init_std > 0) || !bpi_finite_d(head->init_std))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_gaussian_head: init_std must be positive and finite, not %g", head->init_std);
    if (!(head->min_std >= 0) || !bpi_finite_d(head->min_std))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_gaussian_head: min_std must be >= 0 and finite, not %g", head->min_std);
    return bpi_ok(error);
}

/* std = softplus(v) k + min_std with k = init_std / softplus(0) and softplus(0) = log 2, so that v = 0, which is what a
 * network with a nearly-zero last layer says, gives init_std + min_std. */
BPI_FN bp_real bpi_head_slope(const bp_gaussian_head *head) { return BP_R(head->init_std / 0.69314718055994530942); }

BPRIOR_API void bp_gaussian_head_forward(bp_real *mean, bp_real *std, const bp_real *raw, size_t n, size_t dim,
                                         const bp_gaussian_head *head) {
    const bp_real k = bpi_head_slope(head), min_std = BP_R(head->min_std);
    for (size_t row = 0; row < n; row++) {
        const bp_real *u = raw + row * 2 * dim, *v = u + dim;
        for (size_t i = 0; i < dim; i++) {
            mean[row * dim + i] = head->tanh_mean ? bp_tanh(u[i]) : u[i];
            std[row * dim + i] = bp_softplus(v[i]) * k + min_std;
        }
    }
}

/* d softplus(v)/dv = e^v / (1 + e^v), the logistic function, computed from the side on which the exponential is at most 1:
 *     v >= 0:  1 / (1 + e^-v)        v < 0:  e^v / (1 + e^v)
 */
BPI_FN bp_real bpi_logistic(bp_real v) {
    const bp_real e = bp_exp(v < 0 ? v : -v);
    return (v < 0 ? e : BP_R(1)) / (1 + e);
}

BPRIOR_API void bp_gaussian_head_backward(bp_real *draw, const bp_real *dmean, const bp_real *dstd, const bp_real *mean,
                                          const bp_real *std, const bp_real *raw, size_t n, size_t dim,
                                          const bp_gaussian_head *head) {
    const bp_real k = bpi_head_slope(head);
    (void)std; /* the slope comes from raw: (std - min_std) would have lost its digits where std is near min_std */
    for (size_t row = 0; row < n; row++) {
        bp_real *du = draw + row * 2 * dim, *dv = du + dim;
        const bp_real *v = raw + row * 2 * dim + dim;
        for (size_t i = 0; i < dim; i++) {
            const size_t at = row * dim + i;
            // in the forward pass this was:
            // mean = tanh(u[i]);
            if (dmean) du[i] += head->tanh_mean ? dmean[at] * (1 - mean[at] * mean[at]) : dmean[at];
            // std = softplus(v[i]) * k + min_std;
            if (dstd) dv[i] += dstd[at] * k * bpi_logistic(v[i]);
        }
    }
}

/* --- 6.4 The LSTM (E35) ------------------------------------------------------ */

/* A step, for one row; sigm(z) = 1/(1 + e^-z), products are elementwise:
 *     0  (h, c) = 0 where an episode starts
 *     1  z = gates + h w                                    [4H]: z_i z_f z_g z_o
 *     2  i = sigm(z_i)  f = sigm(z_f)  g = tanh(z_g)  o = sigm(z_o)
 *     3  c = f c + i g
 *     4  m = tanh(c)
 *     5  h = o m
 * Pass 1 is the only one that mixes units and the only one that has to wait for the step before, which is why the input's
 * part of z is not computed here.
 *
 * The four gates want one kind of exponential, so that a single vectorised loop can do all of them. With
 * e^-z = e^(-z/2) / e^(z/2),
 *     sigm(z) = e^(z/2) / (e^(z/2) + e^(-z/2)) = (1 + tanh(z/2)) / 2
 * : halve z_i, z_f and z_o, take tanh of the whole row, and put i, f and o right. No z overflows, and the error is
 * that of tanh, absolute: a gate closed beyond sigm(z) = 2^-25 (in float) is closed entirely.
 *
 * Rows are worked on in groups of eight units and a rest, as in 6.2. */

/* The state of B rows [B][2H] is h and c of each row; the other arrays of one step are [B][4H] and [B][H]. */
typedef struct bpi_lstm_tape {
    bp_real *before; /* [T][B][2H] state before each step, after pass 0 */
    bp_real *act;    /* [T][B][4H] i, f, g, o */
    bp_real *m;      /* [T][B][H] tanh(c) */
} bpi_lstm_tape;

/* The parts of `saved`; see bp_lstm_saved_reals() for the layout. */
BPI_FN bpi_lstm_tape bpi_lstm_tape_saved(bp_real *saved, size_t T, size_t B, size_t H) {
    bpi_lstm_tape tape;
    tape.before = saved;
    tape.act = tape.before + T * B * 2 * H;
    tape.m = tape.act + T * B * 4 * H;
    return tape;
}

BPRIOR_API size_t bp_lstm_saved_reals(size_t T, size_t B, size_t H) {
    size_t rows, units, total, bytes;
    if (!bp_size_mul(&rows, T, B) || !bp_size_mul(&units, rows, H) || !bp_size_mul(&total, units, 7) ||
        !bp_size_mul(&bytes, total, sizeof(bp_real)))
        return SIZE_MAX;
    return total;
}

/* Backward collects steps until it has about this many rows of dz, so that the product for dw is worth its while also when
 * B is small. */
#define BPI_LSTM_ROWS 64

BPI_FN size_t bpi_lstm_steps(size_t B) { return B && B < BPI_LSTM_ROWS ? BPI_LSTM_ROWS / B : 1; }

/* Eval: state [B][2H], act [B][4H], m [B][H]. Backward: dstate [B][2H], dz [steps][B][4H]. */
BPRIOR_API size_t bp_lstm_work_reals(size_t B, size_t H) {
    size_t rows, per_unit, total, bytes;
    if (!bp_size_mul(&rows, B, 4 * bpi_lstm_steps(B)) || !bp_size_mul(&per_unit, B, 3) ||
        !bp_size_add(&per_unit, per_unit, rows) || !bp_size_mul(&total, per_unit, H) ||
        !bp_size_mul(&bytes, total, sizeof(bp_real)))
        return SIZE_MAX;
    return total;
}

/* Pass 0: zero the rows [2H] of x whose episode starts here. For the state, and for its derivative. */
BPI_FN void bpi_lstm_reset(bp_real *x, const bp_real *reset, size_t B, size_t H) {
    for (size_t row = 0; row < B; row++)
        if (reset[row] != 0) memset(x + row * 2 * H, 0, 2 * H * sizeof *x);
}

/* Before the tanh of pass 2: n numbers halved. */
BPI_ALWAYS_INLINE void bpi_lstm_halve(bp_real *z, size_t n) {
    for (size_t k = 0; k < n; k++) z[k] *= BP_R(0.5);
}

/* After the tanh of pass 2, and pass 3, for n units: i, f, o come as tanh(z/2). */
BPI_ALWAYS_INLINE void bpi_lstm_cell(bp_real *BPI_RESTRICT cell, bp_real *BPI_RESTRICT i, bp_real *BPI_RESTRICT f,
                                     const bp_real *BPI_RESTRICT g, bp_real *BPI_RESTRICT o, size_t n) {
    for (size_t k = 0; k < n; k++) {
        i[k] = BP_R(0.5) + BP_R(0.5) * i[k];
        f[k] = BP_R(0.5) + BP_R(0.5) * f[k];
        o[k] = BP_R(0.5) + BP_R(0.5) * o[k];
        cell[k] = f[k] * cell[k] + i[k] * g[k];
    }
}

/* Pass 5 for n units; both places where h is wanted. */
BPI_ALWAYS_INLINE void bpi_lstm_show(bp_real *BPI_RESTRICT h, bp_real *BPI_RESTRICT out, const bp_real *BPI_RESTRICT o,
                                     const bp_real *BPI_RESTRICT m, size_t n) {
    for (size_t k = 0; k < n; k++) h[k] = out[k] = o[k] * m[k];
}

/* The passes above for a row of H units. */
BPI_FN void bpi_lstm_halve_row(bp_real *z, size_t n) {
    const size_t whole = n - n % 8;
    for (size_t k = 0; k < whole; k += 8) bpi_lstm_halve(z + k, 8);
    bpi_lstm_halve(z + whole, n - whole);
}

BPI_FN void bpi_lstm_cell_row(bp_real *cell, bp_real *act, size_t H) {
    bp_real *i = act, *f = act + H, *g = act + 2 * H, *o = act + 3 * H;
    const size_t whole = H - H % 8;
    for (size_t k = 0; k < whole; k += 8) bpi_lstm_cell(cell + k, i + k, f + k, g + k, o + k, 8);
    bpi_lstm_cell(cell + whole, i + whole, f + whole, g + whole, o + whole, H - whole);
}

BPI_FN void bpi_lstm_show_row(bp_real *h, bp_real *out, const bp_real *o, const bp_real *m, size_t H) {
    const size_t whole = H - H % 8;
    for (size_t k = 0; k < whole; k += 8) bpi_lstm_show(h + k, out + k, o + k, m + k, 8);
    bpi_lstm_show(h + whole, out + whole, o + whole, m + whole, H - whole);
}

/* Eval and forward are one loop, and so the same bits; without a tape each step overwrites the last one. The state is
 * carried in work. */
BPI_FN void bpi_lstm_run(const bp_compute *c, bp_real *h, const bpi_lstm_tape *tape, bp_real *work, const bp_real *gates,
                         const bp_real *state, const bp_real *reset, const bp_real *w, size_t T, size_t B, size_t H) {
    bp_real *carry = work, *act = carry + B * 2 * H, *m = act + B * 4 * H;
    if (state) memcpy(carry, state, B * 2 * H * sizeof *carry);
    else memset(carry, 0, B * 2 * H * sizeof *carry);
    for (size_t t = 0; t < T; t++) {
        if (tape) {
            act = tape->act + t * B * 4 * H;
            m = tape->m + t * B * H;
        }

        /* pass 0: a new episode knows nothing */
        if (reset) bpi_lstm_reset(carry, reset + t * B, B, H);
        if (tape) memcpy(tape->before + t * B * 2 * H, carry, B * 2 * H * sizeof *carry);

        /* pass 1: z = gates + h w */
        memcpy(act, gates + t * B * 4 * H, B * 4 * H * sizeof *act);
        bp_gemm(c, false, false, B, 4 * H, H, carry, 2 * H, w, 4 * H, 1, act, 4 * H, NULL, BP_ACT_NONE);

        /* pass 2: i, f, g, o, by one tanh; and pass 3: c = f c + i g */
        for (size_t row = 0; row < B; row++) {
            bp_real *z = act + row * 4 * H;
            bpi_lstm_halve_row(z, 2 * H);
            bpi_lstm_halve_row(z + 3 * H, H);
            bp_vec_tanh(c, z, z, 4 * H);
            bpi_lstm_cell_row(carry + row * 2 * H + H, z, H);

            /* pass 4: m = tanh(c); and pass 5: h = o m */
            bp_vec_tanh(c, m + row * H, carry + row * 2 * H + H, H);
            bpi_lstm_show_row(carry + row * 2 * H, h + (t * B + row) * H, z + 3 * H, m + row * H, H);
        }
    }
}

BPRIOR_API void bp_lstm_eval(const bp_compute *c, bp_real *h, bp_real *state_out, bp_real *work, const bp_real *gates,
                             const bp_real *state, const bp_real *reset, const bp_real *w, size_t T, size_t B, size_t H) {
    bpi_lstm_run(c, h, NULL, work, gates, state, reset, w, T, B, H);
    if (state_out) memcpy(state_out, work, B * 2 * H * sizeof *work);
}

BPRIOR_API void bp_lstm_forward(const bp_compute *c, bp_real *h, bp_real *saved, bp_real *work, const bp_real *gates,
                                const bp_real *state, const bp_real *reset, const bp_real *w, size_t T, size_t B, size_t H) {
    const bpi_lstm_tape tape = bpi_lstm_tape_saved(saved, T, B, H);
    bpi_lstm_run(c, h, &tape, work, gates, state, reset, w, T, B, H);
}

/* The step in reverse, for n units of a row. On entry dh and dc are the derivatives by h and c after the step, counting all
 * later use; what comes out are the derivatives by z, and by the c before the step, which replaces dc.
 *     5  h = o m          =>  do = dh m,        dm = dh o
 *     4  m = tanh(c)      =>  dc += dm (1 - m^2)
 *     3  c = f c' + i g   =>  df = dc c',       di = dc g,     dg = dc i,     dc' = dc f
 *     2  i = sigm(z_i)    =>  dz_i = di i (1 - i), the same for f and o;      dz_g = dg (1 - g^2)
 * The slope of sigm, from its value: sigm' = e^-z / (1 + e^-z)^2 = sigm (1 - sigm). */
BPI_ALWAYS_INLINE void bpi_lstm_cell_backward(bp_real *BPI_RESTRICT dzi, bp_real *BPI_RESTRICT dzf, bp_real *BPI_RESTRICT dzg,
                                              bp_real *BPI_RESTRICT dzo, bp_real *BPI_RESTRICT dcell,
                                              const bp_real *BPI_RESTRICT dh_later, const bp_real *BPI_RESTRICT dh,
                                              const bp_real *BPI_RESTRICT i, const bp_real *BPI_RESTRICT f,
                                              const bp_real *BPI_RESTRICT g, const bp_real *BPI_RESTRICT o,
                                              const bp_real *BPI_RESTRICT m, const bp_real *BPI_RESTRICT before, size_t n) {
    for (size_t k = 0; k < n; k++) {
        const bp_real all = dh[k] + dh_later[k];
        // in the forward pass this was:
        // h[k] = o[k] * m[k]; and m[k] = tanh(cell[k]);
        const bp_real dout = all * m[k], dc = dcell[k] + all * o[k] * (1 - m[k] * m[k]);
        // cell[k] = f[k] * before[k] + i[k] * g[k];
        const bp_real df = dc * before[k], di = dc * g[k], dg = dc * i[k];
        dcell[k] = dc * f[k];
        // i[k] = sigm(z_i), f[k] = sigm(z_f), g[k] = tanh(z_g), o[k] = sigm(z_o);
        dzi[k] = di * i[k] * (1 - i[k]);
        dzf[k] = df * f[k] * (1 - f[k]);
        dzg[k] = dg * (1 - g[k] * g[k]);
        dzo[k] = dout * o[k] * (1 - o[k]);
    }
}

/* ... and for a row: dz [4H] is set; dstate [2H] holds dh from later steps, which is read, and dc, which is replaced. */
BPI_FN void bpi_lstm_cell_backward_row(bp_real *dz, bp_real *dstate, const bp_real *dh, const bp_real *act, const bp_real *m,
                                       const bp_real *before, size_t H) {
    const bp_real *i = act, *f = act + H, *g = act + 2 * H, *o = act + 3 * H, *cell = before + H;
    bp_real *dzi = dz, *dzf = dz + H, *dzg = dz + 2 * H, *dzo = dz + 3 * H, *dcell = dstate + H;
    const size_t whole = H - H % 8;
    for (size_t k = 0; k < whole; k += 8)
        bpi_lstm_cell_backward(dzi + k, dzf + k, dzg + k, dzo + k, dcell + k, dstate + k, dh + k, i + k, f + k, g + k, o + k,
                               m + k, cell + k, 8);
    bpi_lstm_cell_backward(dzi + whole, dzf + whole, dzg + whole, dzo + whole, dcell + whole, dstate + whole, dh + whole,
                           i + whole, f + whole, g + whole, o + whole, m + whole, cell + whole, H - whole);
}

/* h_t reaches the loss directly, by dh[t], and through z of step t+1; c_t through c of step t+1. So the steps are taken
 * from the last to the first, with `carry` the derivative by the state after the step that is due. Pass 1 of a step gives
 *     z = gates + h w   =>  dgates += dz,  dw += h^T dz,  dh of the step before = dz w^T
 * and of these only the last has to be computed step by step: dz of several steps is collected for the other two. */
BPRIOR_API void bp_lstm_backward(const bp_compute *c, bp_real *dgates, bp_real *dw, bp_real *dstate, bp_real *work,
                                 const bp_real *dh, const bp_real *saved, const bp_real *reset, const bp_real *w, size_t detach,
                                 size_t T, size_t B, size_t H) {
    const bpi_lstm_tape tape = bpi_lstm_tape_saved((bp_real *)saved, T, B, H); /* only read from here on */
    const size_t steps = bpi_lstm_steps(B);
    bp_real *carry = work, *collected = carry + B * 2 * H;
    memset(carry, 0, B * 2 * H * sizeof *carry);
    for (size_t t = T; t-- > detach;) {
        const size_t slot = (t - detach) % steps;
        bp_real *dz = collected + slot * B * 4 * H;

        /* passes 5 to 2: from h and c to z */
        for (size_t row = 0; row < B; row++) {
            const size_t at = t * B + row;
            bpi_lstm_cell_backward_row(dz + row * 4 * H, carry + row * 2 * H, dh + at * H, tape.act + at * 4 * H,
                                       tape.m + at * H, tape.before + at * 2 * H, H);
        }

        /* pass 1: z = gates + h w. The derivative by h is set, as all that came from later steps has been used. */
        if (t > detach || (detach == 0 && dstate))
            bp_gemm(c, false, true, B, H, 4 * H, dz, 4 * H, w, 4 * H, 0, carry, 2 * H, NULL, BP_ACT_NONE);
        if (slot == 0) {
            const size_t rows = bpi_min_size(steps, T - t) * B;
            if (dgates) bp_vec_axpy(c, dgates + t * B * 4 * H, 1, dz, rows * 4 * H);
            if (dw)
                bp_gemm(c, true, false, H, 4 * H, rows, tape.before + t * B * 2 * H, 2 * H, dz, 4 * H, 1, dw, 4 * H, NULL,
                        BP_ACT_NONE);
        }

        /* pass 0: what was zeroed had no influence */
        if (reset) bpi_lstm_reset(carry, reset + t * B, B, H);
    }
    if (dstate && detach == 0) bp_vec_axpy(c, dstate, 1, carry, B * 2 * H);
}

/* --- 6.5 Initial weights ------------------------------------------------------ */

/* A uniform number in [-limit, limit] has variance limit^2/3; setting that to scale/fan gives limit = sqrt(3 scale/fan). */
BPRIOR_API void bp_init_variance_scaling(bp_real *w, bp_rng *rng, size_t in, size_t out, double scale, bp_fan fan) {
    const bp_real limit = BP_R(sqrt(3.0 * scale / (double)(fan == BP_FAN_IN ? in : out)));
    for (size_t i = 0; i < in * out; i++) w[i] = bp_rng_uniform_in(rng, -limit, limit);
}

/* ==========================================================================
 * 7. >>networks   Networks
 *    provides: bp_mlp_*  bp_view  bp_rnn_*  bp_fd_derivative
 *    needs: 1, 3, 4, 6        equations: E35
 * ========================================================================== */

/* --- 7.1 Structure ---------------------------------------------------------- */

BPRIOR_API bp_mlp_config bp_mlp_config_make(uint32_t cookie, size_t input, size_t output) {
    bp_mlp_config config;
    memset(&config, 0, sizeof config);
    config.cookie = cookie;
    if (cookie != BP_COOKIE(bp_mlp_config)) return config; /* bp_mlp_init() will say why */
    config.input = input;
    config.output = output;
    config.hidden_layers = 2;
    for (size_t l = 0; l < BP_MAX_LAYERS; l++) config.width[l] = 64;
    config.activation = BP_ACT_ELU;
    config.layer_norm = true;
    config.init_scale = 0.333;
    config.output_scale = 1.0;
    return config;
}

BPI_FN bp_status bpi_mlp_config_check(const bp_mlp_config *config, bp_error *error) {
    const bp_status status = bpi_check_cookie(config->cookie, BP_COOKIE(bp_mlp_config), "bp_mlp_config", error);
    if (status != BP_OK) return status;
    if (config->input == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mlp_config: input must be at least 1");
    if (config->output == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mlp_config: output must be at least 1");
    if (config->hidden_layers > BP_MAX_LAYERS)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mlp_config: hidden_layers is %lu, at most %d are possible",
                        (unsigned long)config->hidden_layers, BP_MAX_LAYERS);
    for (size_t l = 0; l < config->hidden_layers; l++)
        if (config->width[l] == 0)
            return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mlp_config: width[%lu] must be at least 1", (unsigned long)l);
    if ((int)config->activation < (int)BP_ACT_NONE || (int)config->activation > (int)BP_ACT_SOFTPLUS)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mlp_config: activation %d is unknown", (int)config->activation);
    if (!(config->init_scale >= 0) || !bpi_finite_d(config->init_scale))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mlp_config: init_scale must be >= 0 and finite, not %g", config->init_scale);
    if (!(config->output_scale >= 0) || !bpi_finite_d(config->output_scale))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mlp_config: output_scale must be >= 0 and finite, not %g",
                        config->output_scale);
    return BP_OK;
}

/* Append a view of rows x cols numbers to the list; false if the parameter count overflows. */
BPI_FN bool bpi_mlp_add_view(bp_mlp *mlp, size_t *offset, size_t layer, const char *part, size_t rows, size_t cols) {
    bp_view *view = &mlp->view[mlp->n_views];
    size_t count;
    if (!bp_size_mul(&count, rows, cols)) return false;
    snprintf(view->name, sizeof view->name, "%u/%s", (unsigned)layer, part);
    view->offset = *offset = mlp->n_params;
    view->rows = rows;
    view->cols = cols;
    mlp->n_views++;
    return bp_size_add(&mlp->n_params, mlp->n_params, count);
}

BPRIOR_API bp_status bp_mlp_init(bp_mlp *mlp, const bp_mlp_config *config, bp_error *error) {
    if (!mlp) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mlp_init: mlp is NULL");
    if (!config) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_mlp_init: config is NULL");
    const bp_status status = bpi_mlp_config_check(config, error);
    if (status != BP_OK) return status;

    size_t in;
    bool fits = bp_size_add(&in, config->input, config->extra);
    memset(mlp, 0, sizeof *mlp);
    mlp->config = *config;
    mlp->n_layers = config->hidden_layers + 1;
    for (size_t l = 0; fits && l < mlp->n_layers; l++) {
        bp_mlp_layer *layer = &mlp->layer[l];
        const bool last = l + 1 == mlp->n_layers;
        layer->in = in;
        layer->out = last ? config->output : config->width[l];
        fits = bpi_mlp_add_view(mlp, &layer->w, l, "w", layer->in, layer->out) &&
               bpi_mlp_add_view(mlp, &layer->b, l, "b", 1, layer->out);
        if (fits && l == 0 && !last && config->layer_norm)
            fits = bpi_mlp_add_view(mlp, &layer->gain, l, "gain", 1, layer->out) &&
                   bpi_mlp_add_view(mlp, &layer->shift, l, "shift", 1, layer->out);
        if (!last && layer->out > mlp->widest) mlp->widest = layer->out;
        in = layer->out;
    }
    size_t bytes;
    if (!fits || !bp_size_mul(&bytes, mlp->n_params, sizeof(bp_real)))
        return bpi_fail(error, BP_ERR_SIZE, "bp_mlp_config: a network of these sizes has more parameters than memory can hold");
    return bpi_ok(error);
}

BPI_FN bool bpi_mlp_has_norm(const bp_mlp *mlp) { return mlp->config.layer_norm && mlp->n_layers > 1; }

BPRIOR_API void bp_mlp_init_params(bp_real *params, const bp_mlp *mlp, bp_rng *rng) {
    for (size_t i = 0; i < mlp->n_params; i++) params[i] = 0;
    for (size_t l = 0; l < mlp->n_layers; l++) {
        const bp_mlp_layer *layer = &mlp->layer[l];
        bp_real *w = params + layer->w;
        bp_init_variance_scaling(w, rng, layer->in, layer->out, mlp->config.init_scale, BP_FAN_OUT);
        if (l + 1 == mlp->n_layers)
            for (size_t i = 0; i < layer->in * layer->out; i++) w[i] *= BP_R(mlp->config.output_scale);
    }
    if (bpi_mlp_has_norm(mlp))
        for (size_t i = 0; i < mlp->layer[0].out; i++) params[mlp->layer[0].gain + i] = 1;
}

BPRIOR_API const bp_view *bp_mlp_find_view(const bp_mlp *mlp, const char *name) {
    for (size_t i = 0; i < mlp->n_views; i++)
        if (strcmp(mlp->view[i].name, name) == 0) return &mlp->view[i];
    return NULL;
}

BPRIOR_API size_t bp_mlp_macs(const bp_mlp *mlp, size_t n, size_t s) {
    size_t per_sample = mlp->config.extra * mlp->layer[0].out;
    for (size_t l = 1; l < mlp->n_layers; l++) per_sample += mlp->layer[l].in * mlp->layer[l].out;
    return n * mlp->config.input * mlp->layer[0].out + n * s * per_sample;
}

/* --- 7.2 Memory --------------------------------------------------------------- */

/* Rows go through all layers in blocks, so that what one layer writes is still in the cache when the next one reads it.
 * Eval, forward and backward use the same blocks: that is why eval and forward agree to the bit for any GEMM. */
#define BPI_MLP_BLOCK_ROWS 512

/* How many rows of x make a block. */
BPI_FN size_t bpi_mlp_block(size_t n, size_t s) {
    const size_t rows = s < BPI_MLP_BLOCK_ROWS ? BPI_MLP_BLOCK_ROWS / s : 1;
    return rows < n ? rows : n;
}

/* x part of the first layer, [block][out of layer 0]; only needed if several samples share it. */
BPI_FN size_t bpi_mlp_shared_reals(const bp_mlp *mlp, size_t n, size_t s) {
    return s > 1 ? bpi_mlp_block(n, s) * mlp->layer[0].out : 0;
}

BPRIOR_API size_t bp_mlp_saved_reals(const bp_mlp *mlp, size_t n, size_t s) {
    size_t rows, per_row = 0, total, bytes;
    for (size_t l = 0; l + 1 < mlp->n_layers; l++) per_row += mlp->layer[l].out;
    if (bpi_mlp_has_norm(mlp)) per_row += mlp->layer[0].out + 2;
    if (!bp_size_mul(&rows, n, s) || !bp_size_mul(&total, rows, per_row) ||
        !bp_size_add(&total, total, bpi_mlp_shared_reals(mlp, n, s)) || !bp_size_mul(&bytes, total, sizeof(bp_real)))
        return SIZE_MAX;
    return total;
}

/* Two buffers of a block's rows, to and fro between layers, and the shared part. */
BPRIOR_API size_t bp_mlp_work_reals(const bp_mlp *mlp, size_t n, size_t s) {
    size_t rows, total, bytes;
    if (!bp_size_mul(&rows, 2 * bpi_mlp_block(n, s), s) || !bp_size_mul(&total, rows, mlp->widest) ||
        !bp_size_add(&total, total, bpi_mlp_shared_reals(mlp, n, s)) || !bp_size_mul(&bytes, total, sizeof(bp_real)))
        return SIZE_MAX;
    return total;
}

/* Where a block of rows finds its part of `saved`, or during eval, of `work`. */
typedef struct bpi_mlp_tape {
    bp_real *z0;               /* [rows][H0] input of the layer norm */
    bp_real *stats;            /* [rows][2] mean, 1/deviation; NULL during eval */
    bp_real *y[BP_MAX_LAYERS]; /* [rows][H] output of each hidden layer */
    bp_real *shared;           /* [rows of x][out of layer 0] */
} bpi_mlp_tape;

/* The part of `saved` that starts at a given row, out of `rows` = n*s; see bp_mlp_saved_reals() for the layout. */
BPI_FN void bpi_mlp_tape_saved(bpi_mlp_tape *tape, bp_real *saved, const bp_mlp *mlp, size_t rows, size_t first) {
    const size_t H0 = mlp->layer[0].out;
    tape->z0 = tape->stats = NULL;
    if (bpi_mlp_has_norm(mlp)) {
        tape->z0 = saved + first * H0;
        saved += rows * H0;
        tape->stats = saved + first * 2;
        saved += rows * 2;
    }
    for (size_t l = 0; l + 1 < mlp->n_layers; l++) {
        tape->y[l] = saved + first * mlp->layer[l].out;
        saved += rows * mlp->layer[l].out;
    }
    tape->shared = saved;
}

/* During eval a layer's output is dead once the next has been computed, so two buffers serve all layers in turn. */
BPI_FN void bpi_mlp_tape_work(bpi_mlp_tape *tape, bp_real *work, const bp_mlp *mlp, size_t block_rows) {
    bp_real *buffer[2];
    buffer[0] = work;
    buffer[1] = work + block_rows * mlp->widest;
    tape->z0 = buffer[0]; /* the layer norm works in place */
    tape->stats = NULL;
    for (size_t l = 0; l + 1 < mlp->n_layers; l++) tape->y[l] = buffer[l & 1];
    tape->shared = work + 2 * block_rows * mlp->widest;
}

/* --- 7.3 Forward and backward --------------------------------------------------- */

/* First layer of a block: z = act(x wx + u wu + b), [n*s][out]. The product with x is shared by the s samples of a row. */
BPI_FN void bpi_mlp_first(const bp_compute *c, bp_real *z, bp_real *shared, const bp_real *x, const bp_real *u,
                          const bp_real *params, const bp_mlp *mlp, size_t n, size_t s, bp_activation act) {
    const bp_mlp_layer *layer = &mlp->layer[0];
    const size_t input = mlp->config.input, extra = mlp->config.extra, out = layer->out;
    const bp_real *wx = params + layer->w, *wu = wx + input * out, *b = params + layer->b;
    bp_real *h = s > 1 ? shared : z;

    /* pass 1: the x part, h = x wx + b, one row per row of x */
    bp_gemm(c, false, false, n, out, input, x, input, wx, out, 0, h, out, b, extra ? BP_ACT_NONE : act);

    /* pass 2: a copy for each sample */
    if (s > 1)
        for (size_t row = 0; row < n * s; row++) memcpy(z + row * out, h + row / s * out, out * sizeof *z);

    /* pass 3: the u part on top, z = act(z + u wu) */
    if (extra) bp_gemm(c, false, false, n * s, out, extra, u, extra, wu, out, 1, z, out, NULL, act);
}

/* A block of n rows of x with s samples each, through the whole network. */
BPI_FN void bpi_mlp_forward_block(const bp_compute *c, bp_real *out, const bpi_mlp_tape *tape, const bp_real *x,
                                  const bp_real *u, const bp_real *params, const bp_mlp *mlp, size_t n, size_t s) {
    const size_t rows = n * s, last = mlp->n_layers - 1;
    const bp_activation act = mlp->config.activation;
    if (last == 0) {
        bpi_mlp_first(c, out, tape->shared, x, u, params, mlp, n, s, BP_ACT_NONE);
        return;
    }

    /* pass 1: first hidden layer */
    if (bpi_mlp_has_norm(mlp)) {
        const bp_mlp_layer *layer = &mlp->layer[0];
        const size_t H = layer->out;
        bpi_mlp_first(c, tape->z0, tape->shared, x, u, params, mlp, n, s, BP_ACT_NONE);
        for (size_t i = 0; i < rows; i++) { /* row by row: the normalised row is still close by when tanh wants it */
            bp_real *y = tape->y[0] + i * H;
            bp_layer_norm_forward(y, tape->stats ? tape->stats + 2 * i : NULL, tape->z0 + i * H, params + layer->gain,
                                  params + layer->shift, 1, H);
            bp_vec_act(c, y, y, H, BP_ACT_TANH);
        }
    } else {
        bpi_mlp_first(c, tape->y[0], tape->shared, x, u, params, mlp, n, s, act);
    }

    /* pass 2: the other layers, y = act(h w + b); the last one without activation */
    for (size_t l = 1; l <= last; l++) {
        const bp_mlp_layer *layer = &mlp->layer[l];
        bp_linear_forward(c, l < last ? tape->y[l] : out, tape->y[l - 1], params + layer->w, params + layer->b, rows, layer->in,
                          layer->out, l < last ? act : BP_ACT_NONE);
    }
}

BPRIOR_API void bp_mlp_eval(const bp_compute *c, bp_real *out, bp_real *work, const bp_real *x, const bp_real *u,
                            const bp_real *params, const bp_mlp *mlp, size_t n, size_t s) {
    const size_t block = bpi_mlp_block(n, s);
    bpi_mlp_tape tape;
    bpi_mlp_tape_work(&tape, work, mlp, block * s);
    for (size_t i = 0; i < n; i += block)
        bpi_mlp_forward_block(c, out + i * s * mlp->config.output, &tape, x + i * mlp->config.input,
                              u ? u + i * s * mlp->config.extra : NULL, params, mlp, bpi_min_size(block, n - i), s);
}

BPRIOR_API void bp_mlp_forward(const bp_compute *c, bp_real *out, bp_real *saved, const bp_real *x, const bp_real *u,
                               const bp_real *params, const bp_mlp *mlp, size_t n, size_t s) {
    const size_t block = bpi_mlp_block(n, s);
    bpi_mlp_tape tape;
    for (size_t i = 0; i < n; i += block) {
        bpi_mlp_tape_saved(&tape, saved, mlp, n * s, i * s);
        bpi_mlp_forward_block(c, out + i * s * mlp->config.output, &tape, x + i * mlp->config.input,
                              u ? u + i * s * mlp->config.extra : NULL, params, mlp, bpi_min_size(block, n - i), s);
    }
}

/* Backward through the first layer of a block: dz [n*s][out] is the derivative by x wx + u wu + b.
 * dparams, dx, du may be NULL. */
BPI_FN void bpi_mlp_first_backward(const bp_compute *c, bp_real *dparams, bp_real *dx, bp_real *du, bp_real *shared,
                                   const bp_real *dz, const bp_real *x, const bp_real *u, const bp_real *params,
                                   const bp_mlp *mlp, size_t n, size_t s) {
    const bp_mlp_layer *layer = &mlp->layer[0];
    const size_t input = mlp->config.input, extra = mlp->config.extra, out = layer->out;
    const bp_real *wx = params + layer->w, *wu = wx + input * out;
    bp_real *dwx = dparams ? dparams + layer->w : NULL, *dwu = dparams ? dwx + input * out : NULL;

    /* pass 3: z = z + u wu */
    if (extra) bp_linear_backward(c, du, dwu, NULL, dz, u, wu, n * s, extra, out);

    /* pass 2: each sample had a copy of h, so the samples' derivatives add up: dh[i] = sum_j dz[i s + j] */
    if (!dparams && !dx) return;
    const bp_real *dh = dz;
    if (s > 1) {
        for (size_t i = 0; i < n; i++) {
            memcpy(shared + i * out, dz + i * s * out, out * sizeof *shared);
            bp_vec_sum_rows(c, shared + i * out, dz + (i * s + 1) * out, s - 1, out, out);
        }
        dh = shared;
    }

    /* pass 1: h = x wx + b */
    bp_linear_backward(c, dx, dwx, dparams ? dparams + layer->b : NULL, dh, x, wx, n, input, out);
}

/* The block's forward pass in reverse order. dparams, dx, du may be NULL. */
BPI_FN void bpi_mlp_backward_block(const bp_compute *c, bp_real *dparams, bp_real *dx, bp_real *du, const bpi_mlp_tape *tape,
                                   bp_real *const *buffer, bp_real *shared, const bp_real *dout, const bp_real *x,
                                   const bp_real *u, const bp_real *params, const bp_mlp *mlp, size_t n, size_t s) {
    const size_t rows = n * s;
    const bp_real *dz = dout; /* derivative by what layer l computed before its activation; the chain starts at the loss */

    for (size_t l = mlp->n_layers - 1; l > 0; l--) {
        const bp_mlp_layer *layer = &mlp->layer[l], *below = &mlp->layer[l - 1];
        const bp_real *h = tape->y[l - 1];
        bp_real *dh = buffer[l & 1]; /* dz is in the other one */

        /* pass 2: z = h w + b. The product sets dh, so it need not be cleared first. */
        if (dparams)
            bp_linear_backward(c, NULL, dparams + layer->w, dparams + layer->b, dz, h, NULL, rows, layer->in, layer->out);
        bp_gemm(c, false, true, rows, layer->in, layer->out, dz, layer->out, params + layer->w, layer->out, 0, dh,
                layer->in, NULL, BP_ACT_NONE);

        if (l > 1 || !bpi_mlp_has_norm(mlp)) {
            /* h = act(z of the layer below) */
            bp_vec_act_backward_set(c, dh, dh, h, rows * layer->in, mlp->config.activation);
        } else {
            /* pass 1: h = tanh(layer norm(z0)), in place and row by row as in forward */
            const size_t H = layer->in;
            for (size_t i = 0; i < rows; i++) {
                bp_real *d = dh + i * H;
                const bp_real *z0 = tape->z0 + i * H, *stats = tape->stats + 2 * i;
                bp_vec_act_backward_set(c, d, d, h + i * H, H, BP_ACT_TANH);
                if (dparams)
                    bpi_layer_norm_backward_gain(dparams + below->gain, dparams + below->shift, d, stats[0], stats[1], z0, H);
                bpi_layer_norm_backward_row(d, false, d, stats[0], stats[1], z0, params + below->gain, H);
            }
        }
        dz = dh;
    }
    bpi_mlp_first_backward(c, dparams, dx, du, shared, dz, x, u, params, mlp, n, s);
}

/* Backward for the rows from `first` on; all arrays are those of n rows. */
BPI_FN void bpi_mlp_backward_from(const bp_compute *c, bp_real *dparams, bp_real *dx, bp_real *du, const bp_real *saved,
                                  bp_real *work, const bp_real *dout, const bp_real *x, const bp_real *u, const bp_real *params,
                                  const bp_mlp *mlp, size_t first, size_t n, size_t s) {
    const size_t block = bpi_mlp_block(n, s), input = mlp->config.input, extra = mlp->config.extra;
    bpi_mlp_tape tape;
    bp_real *buffer[2], *shared = work + 2 * block * s * mlp->widest;
    buffer[0] = work;
    buffer[1] = work + block * s * mlp->widest;
    for (size_t i = first; i < n; i += block) {
        bpi_mlp_tape_saved(&tape, (bp_real *)saved, mlp, n * s, i * s); /* only read from here on */
        bpi_mlp_backward_block(c, dparams, dx ? dx + i * input : NULL, du ? du + i * s * extra : NULL, &tape, buffer, shared,
                               dout + i * s * mlp->config.output, x + i * input, u ? u + i * s * extra : NULL, params, mlp,
                               bpi_min_size(block, n - i), s);
    }
}

BPRIOR_API void bp_mlp_backward(const bp_compute *c, bp_real *dparams, bp_real *dx, bp_real *du, const bp_real *saved,
                                bp_real *work, const bp_real *dout, const bp_real *x, const bp_real *u, const bp_real *params,
                                const bp_mlp *mlp, size_t n, size_t s) {
    bpi_mlp_backward_from(c, dparams, dx, du, saved, work, dout, x, u, params, mlp, 0, n, s);
}

BPRIOR_API void bp_mlp_backward_input(const bp_compute *c, bp_real *dx, bp_real *du, const bp_real *saved, bp_real *work,
                                      const bp_real *dout, const bp_real *x, const bp_real *u, const bp_real *params,
                                      const bp_mlp *mlp, size_t n, size_t s) {
    bp_mlp_backward(c, NULL, dx, du, saved, work, dout, x, u, params, mlp, n, s);
}

/* --- 7.4 Recurrent networks ------------------------------------------------------- */

BPRIOR_API bp_status bp_rnn_init(bp_rnn *rnn, const bp_mlp_config *torso, size_t units, bp_error *error) {
    if (!rnn) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_rnn_init: rnn is NULL");
    if (!torso) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_rnn_init: torso is NULL");
    if (units == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_rnn_init: units must be at least 1");
    bp_mlp_config config = *torso;
    size_t count, bytes;
    const bool fits = bp_size_mul(&config.output, units, 4) && bp_size_mul(&count, units, config.output);
    memset(rnn, 0, sizeof *rnn);
    if (fits) {
        const bp_status status = bp_mlp_init(&rnn->torso, &config, error);
        if (status != BP_OK) return status;
    }
    if (!fits || !bp_size_add(&rnn->n_params, rnn->torso.n_params, count) || !bp_size_mul(&bytes, rnn->n_params, sizeof(bp_real)))
        return bpi_fail(error, BP_ERR_SIZE, "bp_rnn_init: %lu units have more parameters than memory can hold",
                        (unsigned long)units);
    rnn->units = units;
    rnn->w = rnn->torso.n_params;

    rnn->n_views = rnn->torso.n_views + 1;
    memcpy(rnn->view, rnn->torso.view, rnn->torso.n_views * sizeof rnn->view[0]);
    bp_view *view = &rnn->view[rnn->torso.n_views];
    snprintf(view->name, sizeof view->name, "h/w");
    view->offset = rnn->w;
    view->rows = units;
    view->cols = 4 * units;
    return bpi_ok(error);
}

/* The torso's last layer was drawn with variance init_scale / (4 H); for init_scale / H its weights are doubled. */
BPRIOR_API void bp_rnn_init_params(bp_real *params, const bp_rnn *rnn, bp_rng *rng) {
    const size_t H = rnn->units;
    const bp_mlp_layer *last = &rnn->torso.layer[rnn->torso.n_layers - 1];
    bp_mlp_init_params(params, &rnn->torso, rng);
    for (size_t i = 0; i < last->in * last->out; i++) params[last->w + i] *= 2;
    for (size_t i = H; i < 2 * H; i++) params[last->b + i] = 1; /* i, f, g, o: the second is the forget gate */
    bp_init_variance_scaling(params + rnn->w, rng, H, 4 * H, rnn->torso.config.init_scale, BP_FAN_IN);
}

/* The torso's, then the LSTM's. */
BPRIOR_API size_t bp_rnn_saved_reals(const bp_rnn *rnn, size_t T, size_t B) {
    size_t rows, torso, total, bytes;
    const size_t lstm = bp_lstm_saved_reals(T, B, rnn->units);
    if (lstm == SIZE_MAX || !bp_size_mul(&rows, T, B)) return SIZE_MAX;
    torso = bp_mlp_saved_reals(&rnn->torso, rows, 1);
    if (torso == SIZE_MAX || !bp_size_add(&total, torso, lstm) || !bp_size_mul(&bytes, total, sizeof(bp_real))) return SIZE_MAX;
    return total;
}

/* The gates or their derivative [T][B][4H], then what torso and LSTM use in turn. */
BPRIOR_API size_t bp_rnn_work_reals(const bp_rnn *rnn, size_t T, size_t B) {
    size_t rows, gates, total, bytes;
    if (!bp_size_mul(&rows, T, B) || !bp_size_mul(&gates, rows, 4 * rnn->units)) return SIZE_MAX;
    const size_t torso = bp_mlp_work_reals(&rnn->torso, rows, 1), lstm = bp_lstm_work_reals(B, rnn->units);
    if (torso == SIZE_MAX || lstm == SIZE_MAX || !bp_size_add(&total, gates, bpi_max_size(torso, lstm)) ||
        !bp_size_mul(&bytes, total, sizeof(bp_real)))
        return SIZE_MAX;
    return total;
}

BPRIOR_API void bp_rnn_eval(const bp_compute *c, bp_real *h, bp_real *state_out, bp_real *work, const bp_real *x,
                            const bp_real *u, const bp_real *state, const bp_real *reset, const bp_real *params,
                            const bp_rnn *rnn, size_t T, size_t B) {
    const size_t H = rnn->units;
    bp_real *gates = work, *rest = gates + T * B * 4 * H;

    /* pass 1: the torso, gates = mlp(x, u), for all steps at once */
    bp_mlp_eval(c, gates, rest, x, u, params, &rnn->torso, T * B, 1);

    /* pass 2: the LSTM, step by step */
    bp_lstm_eval(c, h, state_out, rest, gates, state, reset, params + rnn->w, T, B, H);
}

BPRIOR_API void bp_rnn_forward(const bp_compute *c, bp_real *h, bp_real *saved, bp_real *work, const bp_real *x, const bp_real *u,
                               const bp_real *state, const bp_real *reset, const bp_real *params, const bp_rnn *rnn, size_t T,
                               size_t B) {
    const size_t H = rnn->units;
    bp_real *gates = work, *rest = gates + T * B * 4 * H, *lstm = saved + bp_mlp_saved_reals(&rnn->torso, T * B, 1);

    /* pass 1: the torso, gates = mlp(x, u) */
    bp_mlp_forward(c, gates, saved, x, u, params, &rnn->torso, T * B, 1);

    /* pass 2: the LSTM */
    bp_lstm_forward(c, h, lstm, rest, gates, state, reset, params + rnn->w, T, B, H);
}

BPRIOR_API void bp_rnn_backward(const bp_compute *c, bp_real *dparams, bp_real *dx, bp_real *du, const bp_real *saved,
                                bp_real *work, const bp_real *dh, const bp_real *x, const bp_real *u, const bp_real *reset,
                                const bp_real *params, const bp_rnn *rnn, size_t detach, size_t T, size_t B) {
    const size_t H = rnn->units, first = detach * B;
    bp_real *dgates = work, *rest = dgates + T * B * 4 * H;
    const bp_real *lstm = saved + bp_mlp_saved_reals(&rnn->torso, T * B, 1);
    if (detach >= T) return;

    /* pass 2: h = lstm(gates); from step `detach` on */
    memset(dgates + first * 4 * H, 0, (T * B - first) * 4 * H * sizeof *dgates);
    bp_lstm_backward(c, dgates, dparams ? dparams + rnn->w : NULL, NULL, rest, dh, lstm, reset, params + rnn->w, detach, T, B, H);

    /* pass 1: gates = mlp(x, u) */
    bpi_mlp_backward_from(c, dparams, dx, du, saved, rest, dgates, x, u, params, &rnn->torso, first, T * B, 1);
}

BPRIOR_API size_t bp_rnn_macs(const bp_rnn *rnn, size_t T, size_t B) {
    return bp_mlp_macs(&rnn->torso, T * B, 1) + T * B * rnn->units * 4 * rnn->units;
}

/* --- 7.5 Checking derivatives ----------------------------------------------------- */

/* f(p + d) = f + d f' + d^2/2 f'' + d^3/6 f''' + ..., and with -d the odd terms change sign, so half the difference is
 *     (f(p + d) - f(p - d)) / 2 = d f' + d^3/6 f''' + ...
 * The divisor is the difference of the two arguments as they are stored: p + step rarely is a representable number. */
BPRIOR_API double bp_fd_derivative(double (*f)(void *ctx), void *ctx, bp_real *param, double step) {
    const bp_real middle = *param;
    const volatile bp_real above = BP_R((double)middle + step), below = BP_R((double)middle - step);
    *param = above;
    const double f_above = f(ctx);
    *param = below;
    const double f_below = f(ctx);
    *param = middle;
    return (f_above - f_below) / ((double)above - (double)below);
}

/* ==========================================================================
 * 8. >>optimiser   Optimiser
 *    provides: bp_adam_*  bp_clip_scale  bp_global_norm  bp_schedule_*  bp_dual_*  bp_polyak
 *    needs: 1, 4        equations: E36
 * ========================================================================== */

/* --- 8.1 Adam (E36) ----------------------------------------------------------- */

BPRIOR_API bp_adam_config bp_adam_config_make(uint32_t cookie) {
    bp_adam_config config;
    memset(&config, 0, sizeof config);
    config.cookie = cookie;
    if (cookie != BP_COOKIE(bp_adam_config)) return config;
    config.lr = 1e-4;
    config.beta1 = 0.9;
    config.beta2 = 0.999;
    config.epsilon = 1e-8;
    config.clip_norm = 0;
    return config;
}

BPRIOR_API bp_status bp_adam_config_check(const bp_adam_config *config, bp_error *error) {
    if (!config) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_adam_config: is NULL");
    const bp_status status = bpi_check_cookie(config->cookie, BP_COOKIE(bp_adam_config), "bp_adam_config", error);
    if (status != BP_OK) return status;
    if (!(config->lr > 0) || !bpi_finite_d(config->lr))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_adam_config: lr must be positive and finite, not %g", config->lr);
    if (!(config->beta1 >= 0 && config->beta1 < 1))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_adam_config: beta1 must be in [0,1), not %g", config->beta1);
    if (!(config->beta2 >= 0 && config->beta2 < 1))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_adam_config: beta2 must be in [0,1), not %g", config->beta2);
    if (!(config->epsilon > 0) || !bpi_finite_d(config->epsilon))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_adam_config: epsilon must be positive and finite, not %g", config->epsilon);
    if (!bpi_finite_d(config->clip_norm))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_adam_config: clip_norm must be finite, not %g", config->clip_norm);
    return bpi_ok(error);
}

/* base^n by repeated squaring: the same bits everywhere, which pow() of the C library does not promise. */
BPI_FN double bpi_power(double base, uint64_t n) {
    double result = 1;
    for (; n; n >>= 1) {
        if (n & 1) result *= base;
        base *= base;
    }
    return result;
}

/* With g = grad_scale * grad and t = step,
 *     m <- beta1 m + (1 - beta1) g                 average of the gradient
 *     v <- beta2 v + (1 - beta2) g^2               average of its square
 *     params <- params - lr mhat / (sqrt(vhat) + epsilon),   mhat = m / (1 - beta1^t),   vhat = v / (1 - beta2^t)
 * Why the corrections: m starts at 0 and after t steps is (1 - beta1) sum_k beta1^(t-k) g_k, whose weights add up to
 * 1 - beta1^t and not to 1. Dividing by that makes mhat a true average from the first step on; the same for v.
 *
 * The divisions by the corrections can leave the loop: multiplying numerator and denominator by c2 = sqrt(1 - beta2^t),
 *     lr mhat / (sqrt(vhat) + epsilon) = (lr c2 / (1 - beta1^t)) m / (sqrt(v) + epsilon c2)
 * If all gradients are equal, mhat = g, vhat = g^2 and the step is lr in size whatever g is: Adam moves by
 * signs, and lr is a distance in parameter space.
 */
BPRIOR_API void bp_adam_step(bp_real *params, bp_real *m, bp_real *v, const bp_real *grad, size_t n,
                             const bp_adam_config *config, uint64_t step, double lr_scale, double grad_scale) {
    const uint64_t t = step ? step : 1;
    const double c1 = 1 - bpi_power(config->beta1, t), c2 = sqrt(1 - bpi_power(config->beta2, t));
    const bp_real rate = BP_R(config->lr * lr_scale * c2 / c1), epsilon = BP_R(config->epsilon * c2);
    const bp_real beta1 = BP_R(config->beta1), beta2 = BP_R(config->beta2);
    const bp_real keep1 = BP_R(1 - config->beta1), keep2 = BP_R(1 - config->beta2), scale = BP_R(grad_scale);
    for (size_t i = 0; i < n; i++) {
        const bp_real g = scale * grad[i];
        m[i] = beta1 * m[i] + keep1 * g;
        v[i] = beta2 * v[i] + keep2 * g * g;
        params[i] -= rate * m[i] / (bpi_sqrt(v[i]) + epsilon);
    }
}

/* --- 8.2 Clipping ---------------------------------------------------------------- */

BPRIOR_API double bp_global_norm(const bp_compute *c, const bp_real *grad, size_t n) { return sqrt(bp_vec_sumsq(c, grad, n)); }

BPRIOR_API double bp_clip_scale(double norm, double max_norm) {
    if (norm != norm) return norm;
    return max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0;
}

/* --- 8.3 Schedules ----------------------------------------------------------------- */

BPRIOR_API bp_schedule bp_schedule_make(bp_schedule_kind kind, double start, double end, uint64_t steps) {
    bp_schedule schedule;
    schedule.kind = kind;
    schedule.start = start;
    schedule.end = end;
    schedule.steps = steps;
    return schedule;
}

BPRIOR_API bp_schedule bp_schedule_constant(double x) { return bp_schedule_make(BP_SCHEDULE_CONSTANT, x, x, 0); }

BPRIOR_API bp_status bp_schedule_check(const bp_schedule *schedule, bp_error *error) {
    if (!schedule) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_schedule: is NULL");
    if ((int)schedule->kind < (int)BP_SCHEDULE_CONSTANT || (int)schedule->kind > (int)BP_SCHEDULE_COSINE)
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_schedule: kind %d is unknown", (int)schedule->kind);
    if (!bpi_finite_d(schedule->start))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_schedule: start must be finite, not %g", schedule->start);
    if (schedule->kind != BP_SCHEDULE_CONSTANT && !bpi_finite_d(schedule->end))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_schedule: end must be finite, not %g", schedule->end);
    if (schedule->kind == BP_SCHEDULE_EXPONENTIAL && !(schedule->start > 0 && schedule->end > 0))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_schedule: start and end must be positive when exponential, not %g and %g",
                        schedule->start, schedule->end);
    return bpi_ok(error);
}

/* With the fraction f = step/steps of the way:
 *     linear        start + f (end - start)
 *     exponential   start (end/start)^f
 *     cosine        end + (start - end) (1 + cos(pi f))/2
 */
BPRIOR_API double bp_schedule_at(const bp_schedule *schedule, uint64_t step) {
    const double start = schedule->start, end = schedule->end;
    if (schedule->kind == BP_SCHEDULE_CONSTANT) return start;
    if (step >= schedule->steps) return end;
    if (step == 0) return start;
    const double f = (double)step / (double)schedule->steps;
    switch (schedule->kind) {
    case BP_SCHEDULE_LINEAR: return start + f * (end - start);
    case BP_SCHEDULE_EXPONENTIAL: return start * pow(end / start, f);
    case BP_SCHEDULE_COSINE: return end + (start - end) * 0.5 * (1 + cos(3.14159265358979323846 * f));
    case BP_SCHEDULE_CONSTANT:
    default: return start;
    }
}

/* --- 8.4 Adapted multipliers --------------------------------------------------------- */

BPRIOR_API bp_dual bp_dual_make(double value, double lr, double target, double min, double max) {
    bp_dual dual;
    dual.log_value = log(value);
    dual.lr = lr;
    dual.target = target;
    dual.min = min;
    dual.max = max;
    return dual;
}

BPRIOR_API bp_status bp_dual_check(const bp_dual *dual, bp_error *error) {
    if (!dual) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_dual: is NULL");
    if (!bpi_finite_d(dual->log_value))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_dual: the initial value must be positive and finite");
    if (!(dual->lr > 0) || !bpi_finite_d(dual->lr))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_dual: lr must be positive and finite, not %g", dual->lr);
    if (!bpi_finite_d(dual->target))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_dual: target must be finite, not %g", dual->target);
    if (!(dual->min > 0 && dual->min <= dual->max) || !bpi_finite_d(dual->max))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_dual: 0 < min <= max must hold, not min %g, max %g", dual->min, dual->max);
    return bpi_ok(error);
}

BPRIOR_API double bp_dual_value(const bp_dual *dual) { return exp(dual->log_value); }

/* Minimise loss(theta) subject to measured(theta) <= target: the saddle point of loss + weight (measured - target), which the
 * parameters make small and the weight, kept positive, makes large. Gradient ascent in the weight itself would add
 * lr (measured - target) and could go below zero; here that is added to its logarithm instead, so that a step multiplies the
 * weight by exp(lr (measured - target)), and takes a like number of steps from 0.001 to 0.01 as from 1 to 10. */
BPRIOR_API void bp_dual_update(bp_dual *dual, double measured) {
    if (!bpi_finite_d(measured)) return;
    const double low = log(dual->min), high = log(dual->max);
    const double moved = dual->log_value + dual->lr * (measured - dual->target);
    dual->log_value = moved < low ? low : moved > high ? high
                                                       : moved;
}

/* --- 8.5 Target networks --------------------------------------------------------------- */

BPRIOR_API void bp_polyak(bp_real *target, const bp_real *online, size_t n, double tau) {
    const bp_real step = BP_R(tau);
    if (tau == 1) { /* target + (online - target) may round; a copy does not */
        if (n) memmove(target, online, n * sizeof *target);
        return;
    }
    for (size_t i = 0; i < n; i++) target[i] += step * (online[i] - target[i]);
}

/* ==========================================================================
 * 9. >>environments-impl   MDP types and environments
 *    provides: bp_spec_* bp_env_* bp_normaliser_* bp_pendulum_* bp_pointmass_*
 *    needs: 1, 2, 3        equations: E1 E2
 * ========================================================================== */

/* ---- the contract -------------------------------------------------------- */

/* Copy a name, cut to fit, and zero the rest so that specs can be written to files as they are. */
BPI_FN void bpi_copy_name(char out[BP_NAME], const char *name) {
    size_t i = 0;
    memset(out, 0, BP_NAME);
    while (name && name[i] && i + 1 < BP_NAME) {
        out[i] = name[i];
        i++;
    }
}

/* Length of a name, or BP_NAME if it has no terminating NUL within its array. */
BPI_FN size_t bpi_name_length(const char *name) {
    size_t i = 0;
    while (i < BP_NAME && name[i]) i++;
    return i;
}

/* Field names go into file headers and command lines, so they are kept plain. */
BPI_FN bool bpi_name_plain(const char *name) {
    size_t i;
    for (i = 0; i < BP_NAME && name[i]; i++) {
        const char ch = name[i];
        const bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
        const bool other = (ch >= '0' && ch <= '9') || ch == '_' || ch == '.' || ch == '-' || ch == '/';
        if (!letter && !other) return false;
    }
    return i > 0 && i < BP_NAME;
}

BPRIOR_API void bp_spec_begin(bp_spec *spec, const char *name) {
    memset(spec, 0, sizeof *spec);
    bpi_copy_name(spec->name, name ? name : "");
}

BPRIOR_API const bp_field *bp_spec_find(const bp_spec *spec, const char *name) {
    size_t i;
    for (i = 0; name && i < spec->n_fields && i < BP_MAX_FIELDS; i++)
        if (strncmp(spec->field[i].name, name, BP_NAME) == 0) return &spec->field[i];
    return NULL;
}

BPRIOR_API bp_status bp_spec_add_field(bp_spec *spec, const char *name, size_t size, bp_error *error) {
    bp_field *f;
    size_t end;
    if (!name || !bpi_name_plain(name))
        return bpi_fail(error, BP_ERR_ARGUMENT,
                        "field name '%.40s' is not 1 to %d characters out of letters, digits and _ . - /",
                        name ? name : "(null)", BP_NAME - 1);
    if (size == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "field '%s' has size 0", name);
    if (bp_spec_find(spec, name)) return bpi_fail(error, BP_ERR_ARGUMENT, "field '%s' is there already", name);
    if (spec->n_fields >= BP_MAX_FIELDS)
        return bpi_fail(error, BP_ERR_SIZE, "field '%s' would be number %d; BP_MAX_FIELDS is %d", name,
                        BP_MAX_FIELDS + 1, BP_MAX_FIELDS);
    if (!bp_size_add(&end, spec->observation_size, size))
        return bpi_fail(error, BP_ERR_SIZE, "field '%s' of %zu numbers overflows the observation", name, size);
    f = &spec->field[spec->n_fields++];
    bpi_copy_name(f->name, name);
    f->offset = spec->observation_size;
    f->size = size;
    spec->observation_size = end;
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_spec_actions_continuous(bp_spec *spec, size_t size, double low, double high,
                                                bp_error *error) {
    size_t i;
    if (size == 0 || size > BP_MAX_ACTION)
        return bpi_fail(error, BP_ERR_ARGUMENT, "an action of %zu numbers; 1 to %d are possible", size,
                        BP_MAX_ACTION);
    if (!(low < high)) return bpi_fail(error, BP_ERR_ARGUMENT, "action bounds [%g, %g] are empty", low, high);
    spec->action_kind = BP_ACTION_CONTINUOUS;
    spec->action_size = size;
    spec->n_choices = 0;
    for (i = 0; i < BP_MAX_ACTION; i++) {
        spec->action_low[i] = i < size ? low : 0.0;
        spec->action_high[i] = i < size ? high : 0.0;
    }
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_spec_actions_discrete(bp_spec *spec, size_t n, bp_error *error) {
    /* The index travels as a float, which counts exactly to 2^24. */
    if (n == 0 || n > ((size_t)1 << 24))
        return bpi_fail(error, BP_ERR_ARGUMENT, "%zu choices; 1 to 2^24 are possible", n);
    spec->action_kind = BP_ACTION_DISCRETE;
    spec->action_size = 1;
    spec->n_choices = n;
    memset(spec->action_low, 0, sizeof spec->action_low);
    memset(spec->action_high, 0, sizeof spec->action_high);
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_spec_check(const bp_spec *spec, bp_error *error) {
    size_t i, k, offset = 0;
    if (!spec) return bpi_fail(error, BP_ERR_ARGUMENT, "the spec is NULL");
    if (bpi_name_length(spec->name) == BP_NAME)
        return bpi_fail(error, BP_ERR_ARGUMENT, "the spec's name is not terminated");
    if (spec->n_fields == 0 || spec->n_fields > BP_MAX_FIELDS)
        return bpi_fail(error, BP_ERR_ARGUMENT, "spec '%s' has %zu fields; 1 to %d are possible", spec->name,
                        spec->n_fields, BP_MAX_FIELDS);
    for (i = 0; i < spec->n_fields; i++) {
        const bp_field *f = &spec->field[i];
        if (!bpi_name_plain(f->name))
            return bpi_fail(error, BP_ERR_ARGUMENT, "spec '%s': the name of field %zu is empty or odd", spec->name,
                            i);
        for (k = 0; k < i; k++)
            if (strcmp(spec->field[k].name, f->name) == 0)
                return bpi_fail(error, BP_ERR_ARGUMENT, "spec '%s' has two fields '%s'", spec->name, f->name);
        if (f->size == 0 || f->offset != offset || f->size > SIZE_MAX - offset)
            return bpi_fail(error, BP_ERR_ARGUMENT,
                            "spec '%s', field '%s': offset %zu size %zu, but it should start at %zu and hold something",
                            spec->name, f->name, f->offset, f->size, offset);
        offset += f->size;
    }
    if (spec->observation_size != offset)
        return bpi_fail(error, BP_ERR_ARGUMENT, "spec '%s': observation_size is %zu, its fields add up to %zu",
                        spec->name, spec->observation_size, offset);
    if (spec->action_kind == BP_ACTION_DISCRETE) {
        if (spec->action_size != 1 || spec->n_choices == 0)
            return bpi_fail(error, BP_ERR_ARGUMENT, "spec '%s': discrete actions need action_size 1 and n_choices > 0",
                            spec->name);
    } else if (spec->action_kind == BP_ACTION_CONTINUOUS) {
        if (spec->action_size == 0 || spec->action_size > BP_MAX_ACTION || spec->n_choices != 0)
            return bpi_fail(error, BP_ERR_ARGUMENT,
                            "spec '%s': continuous actions need action_size 1 to %d and n_choices 0", spec->name,
                            BP_MAX_ACTION);
        for (i = 0; i < spec->action_size; i++)
            if (!(spec->action_low[i] < spec->action_high[i]))
                return bpi_fail(error, BP_ERR_ARGUMENT, "spec '%s': bounds [%g, %g] of action %zu are empty",
                                spec->name, spec->action_low[i], spec->action_high[i], i);
    } else {
        return bpi_fail(error, BP_ERR_ARGUMENT, "spec '%s': unknown action_kind %d", spec->name,
                        (int)spec->action_kind);
    }
    return bpi_ok(error);
}

BPRIOR_API bool bp_spec_equal(const bp_spec *a, const bp_spec *b) {
    size_t i;
    if (a->n_fields != b->n_fields || a->observation_size != b->observation_size ||
        a->action_kind != b->action_kind || a->action_size != b->action_size || a->n_choices != b->n_choices)
        return false;
    for (i = 0; i < a->n_fields && i < BP_MAX_FIELDS; i++)
        if (a->field[i].offset != b->field[i].offset || a->field[i].size != b->field[i].size ||
            strncmp(a->field[i].name, b->field[i].name, BP_NAME) != 0)
            return false;
    if (a->action_kind == BP_ACTION_CONTINUOUS)
        for (i = 0; i < a->action_size && i < BP_MAX_ACTION; i++)
            /* equal or both NaN-free and neither smaller: == without a float-equal warning */
            if (!(a->action_low[i] <= b->action_low[i] && a->action_low[i] >= b->action_low[i] &&
                  a->action_high[i] <= b->action_high[i] && a->action_high[i] >= b->action_high[i]))
                return false;
    return true;
}

/* FNV-1a over 64-bit words, low byte first whatever the machine's byte order. */
BPI_FN uint64_t bpi_hash_word(uint64_t h, uint64_t word) {
    unsigned k;
    for (k = 0; k < 8; k++) {
        h ^= (word >> (8 * k)) & 255u;
        h *= 1099511628211ull;
    }
    return h;
}

BPI_FN uint64_t bpi_hash_double(uint64_t h, double x) {
    uint64_t bits;
    const double plus_zero = x + 0.0; /* -0 + 0 = +0: equal bounds must hash alike */
    memcpy(&bits, &plus_zero, sizeof bits);
    return bpi_hash_word(h, bits);
}

BPRIOR_API uint64_t bp_spec_hash(const bp_spec *spec) {
    uint64_t h = 14695981039346656037ull;
    size_t i, k;
    h = bpi_hash_word(h, spec->n_fields);
    for (i = 0; i < spec->n_fields && i < BP_MAX_FIELDS; i++) {
        const size_t length = bpi_name_length(spec->field[i].name);
        h = bpi_hash_word(h, length);
        for (k = 0; k < length; k++) h = bpi_hash_word(h, (unsigned char)spec->field[i].name[k]);
        h = bpi_hash_word(h, spec->field[i].size);
    }
    h = bpi_hash_word(h, (uint64_t)spec->action_kind);
    h = bpi_hash_word(h, spec->action_size);
    h = bpi_hash_word(h, spec->n_choices);
    if (spec->action_kind == BP_ACTION_CONTINUOUS)
        for (i = 0; i < spec->action_size && i < BP_MAX_ACTION; i++) {
            h = bpi_hash_double(h, spec->action_low[i]);
            h = bpi_hash_double(h, spec->action_high[i]);
        }
    return h;
}

/* A discrete action as an index; n_choices if it is none. */
BPI_FN size_t bpi_action_index(bp_real action, size_t n_choices) {
    const double a = (double)action;
    size_t k;
    if (!(a >= 0.0 && a < (double)n_choices)) return n_choices; /* NaN fails both */
    k = (size_t)a;
    return a > (double)k ? n_choices : k;
}

BPRIOR_API bool bp_spec_action_ok(const bp_spec *spec, const bp_real *action) {
    size_t i;
    if (spec->action_kind == BP_ACTION_DISCRETE) return bpi_action_index(action[0], spec->n_choices) < spec->n_choices;
    for (i = 0; i < spec->action_size; i++)
        if (!bpi_finite(action[i])) return false;
    return true;
}

BPRIOR_API void bp_env_close(bp_env *env) {
    if (!env) return;
    if (env->close) env->close(env->self);
    memset(env, 0, sizeof *env);
}

/* Clip; NaN comes back as NaN. */
BPI_INLINE double bpi_clip_d(double x, double low, double high) { return x < low ? low : x > high ? high
                                                                                                  : x; }

/* ---- saved states --------------------------------------------------------
 * A state is: 8 bytes that say whose it is, then the numbers. Bytes move by memcpy; the order is this
 * machine's, since a checkpoint is resumed where it was made. */

/* save() of an object whose whole state is `n` bytes at `state`. */
BPI_FN size_t bpi_state_save(const char tag[8], const void *state, size_t n, void *buffer, size_t capacity) {
    if (buffer) {
        if (capacity < 8 + n) return 0;
        memcpy(buffer, tag, 8);
        memcpy((unsigned char *)buffer + 8, state, n);
    }
    return 8 + n;
}

/* Is this buffer a state of that kind and size? */
BPI_FN bool bpi_state_ok(const char tag[8], size_t n, const void *buffer, size_t bytes) {
    return buffer && bytes == 8 + n && memcmp(buffer, tag, 8) == 0;
}

/* ---- wrappers ------------------------------------------------------------ */

typedef enum bpi_wrap_kind { BPI_WRAP_RESCALE,
                             BPI_WRAP_REPEAT,
                             BPI_WRAP_LIMIT,
                             BPI_WRAP_NORMALISE } bpi_wrap_kind;

/* One object for all wrappers: they differ in a few lines of step(). */
typedef struct bpi_wrap {
    bpi_wrap_kind kind;
    bp_owner owner;
    bp_env inner;
    size_t n;                  /* repeat: k; limit: steps */
    uint64_t done;             /* limit: steps of this episode (the only state of a wrapper) */
    bp_normaliser *normaliser; /* normalise */
    bool update;
} bpi_wrap;

BPI_FN void bpi_wrap_observe(bpi_wrap *w, bp_real *observation) {
    if (w->kind != BPI_WRAP_NORMALISE) return;
    if (w->update) bp_normaliser_update(w->normaliser, observation, 1);
    bp_normaliser_apply(observation, w->normaliser, observation, 1);
}

BPI_FN bp_status bpi_wrap_reset(void *self, uint64_t seed, bp_real *observation) {
    bpi_wrap *w = (bpi_wrap *)self;
    const bp_status s = w->inner.reset(w->inner.self, seed, observation);
    if (s < BP_OK) return s;
    w->done = 0;
    bpi_wrap_observe(w, observation);
    return s;
}

BPI_FN bp_status bpi_wrap_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    bpi_wrap *w = (bpi_wrap *)self;
    bp_status s = BP_OK;
    size_t i;
    if (w->kind == BPI_WRAP_RESCALE) {
        /* a_inner = low + (a + 1)/2 (high - low), a clipped to [-1, 1]; the ends are hit exactly */
        bp_real inner[BP_MAX_ACTION];
        const bp_spec *spec = &w->inner.spec;
        for (i = 0; i < spec->action_size; i++) {
            const double low = spec->action_low[i], high = spec->action_high[i];
            const double u = 0.5 * (bpi_clip_d((double)action[i], -1.0, 1.0) + 1.0);
            if (!bpi_finite(action[i])) return BP_ERR_ENV;
            inner[i] = (bp_real)((1.0 - u) * low + u * high);
        }
        return w->inner.step(w->inner.self, inner, observation, out);
    }
    if (w->kind == BPI_WRAP_REPEAT) {
        double reward = 0.0, discount = 1.0;
        for (i = 0; i < w->n; i++) {
            s = w->inner.step(w->inner.self, action, observation, out);
            if (s < BP_OK) return s;
            reward += (double)out->reward;
            discount *= (double)out->discount;
            if (out->last) break;
        }
        out->reward = (bp_real)reward;
        out->discount = (bp_real)discount;
        return s;
    }
    if (w->kind == BPI_WRAP_LIMIT && w->done >= w->n) return BP_ERR_ENV; /* reset() comes first */
    s = w->inner.step(w->inner.self, action, observation, out);
    if (s < BP_OK) return s;
    if (w->kind == BPI_WRAP_LIMIT && ++w->done >= w->n) out->last = true;
    bpi_wrap_observe(w, observation);
    return s;
}

/* State: tag "BPwrap" with the kind, `done`, then the inner state. */
BPI_FN void bpi_wrap_tag(const bpi_wrap *w, char tag[8]) {
    memcpy(tag, "BPwrap0", 8);
    tag[6] = (char)('0' + (int)w->kind);
}

BPI_FN size_t bpi_wrap_save(void *self, void *buffer, size_t capacity) {
    bpi_wrap *w = (bpi_wrap *)self;
    char tag[8];
    const size_t inner = w->inner.save(w->inner.self, NULL, 0);
    const size_t total = 16 + inner;
    if (!inner) return 0;
    if (buffer) {
        if (capacity < total) return 0;
        bpi_wrap_tag(w, tag);
        memcpy(buffer, tag, 8);
        memcpy((unsigned char *)buffer + 8, &w->done, 8);
        if (w->inner.save(w->inner.self, (unsigned char *)buffer + 16, capacity - 16) != inner) return 0;
    }
    return total;
}

BPI_FN bp_status bpi_wrap_load(void *self, const void *buffer, size_t bytes) {
    bpi_wrap *w = (bpi_wrap *)self;
    char tag[8];
    uint64_t done;
    bp_status s;
    bpi_wrap_tag(w, tag);
    if (!buffer || bytes < 16 || memcmp(buffer, tag, 8) != 0) return BP_ERR_FORMAT;
    memcpy(&done, (const unsigned char *)buffer + 8, 8);
    if (w->kind == BPI_WRAP_LIMIT ? done > w->n : done != 0) return BP_ERR_FORMAT;
    s = w->inner.load(w->inner.self, (const unsigned char *)buffer + 16, bytes - 16);
    if (s < BP_OK) return s;
    w->done = done;
    return s;
}

BPI_FN void bpi_wrap_close(void *self) {
    bpi_wrap *w = (bpi_wrap *)self;
    bp_env_close(&w->inner);
    bpi_disown(&w->owner, w);
}

/* Allocate a wrapper around *io and put it in *io's place. NULL: the error is filled, *io untouched. */
BPI_FN bpi_wrap *bpi_wrap_make(bp_env *io, bpi_wrap_kind kind, const bp_allocator *allocator, bp_status *status,
                               bp_error *error) {
    bpi_wrap *w;
    if (!io || !io->reset || !io->step) {
        *status = bpi_fail(error, BP_ERR_ARGUMENT, "a wrapper needs an environment with reset and step");
        return NULL;
    }
    *status = bp_spec_check(&io->spec, error);
    if (*status != BP_OK) return NULL;
    w = (bpi_wrap *)bp_alloc(allocator, sizeof *w);
    if (!w) {
        *status = bpi_fail(error, BP_ERR_MEMORY, "no memory for a wrapper of '%s'", io->spec.name);
        return NULL;
    }
    w->kind = kind;
    w->inner = *io;
    bpi_own(&w->owner, allocator, sizeof *w);
    io->self = w; /* io->spec stays */
    io->reset = bpi_wrap_reset;
    io->step = bpi_wrap_step;
    io->close = bpi_wrap_close;
    if (w->inner.save && w->inner.load) {
        io->save = bpi_wrap_save;
        io->load = bpi_wrap_load;
    } else {
        io->save = NULL;
        io->load = NULL;
    }
    return w;
}

BPRIOR_API bp_status bp_env_rescale_actions(bp_env *io, const bp_allocator *allocator, bp_error *error) {
    bp_status s;
    size_t i;
    if (!io) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_env_rescale_actions: no environment");
    if (io->spec.action_kind == BP_ACTION_DISCRETE) return bpi_ok(error);
    for (i = 0; i < io->spec.action_size && i < BP_MAX_ACTION; i++)
        if (!bpi_finite_d(io->spec.action_low[i]) || !bpi_finite_d(io->spec.action_high[i]))
            return bpi_fail(error, BP_ERR_ARGUMENT, "'%s': bounds [%g, %g] of action %zu cannot be stretched to [-1, 1]",
                            io->spec.name, io->spec.action_low[i], io->spec.action_high[i], i);
    if (!bpi_wrap_make(io, BPI_WRAP_RESCALE, allocator, &s, error)) return s;
    for (i = 0; i < io->spec.action_size; i++) {
        io->spec.action_low[i] = -1.0;
        io->spec.action_high[i] = 1.0;
    }
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_env_repeat(bp_env *io, size_t k, const bp_allocator *allocator, bp_error *error) {
    bp_status s;
    bpi_wrap *w;
    if (k == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_env_repeat: k is 0");
    w = bpi_wrap_make(io, BPI_WRAP_REPEAT, allocator, &s, error);
    if (!w) return s;
    w->n = k;
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_env_time_limit(bp_env *io, size_t steps, const bp_allocator *allocator, bp_error *error) {
    bp_status s;
    bpi_wrap *w;
    if (steps == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_env_time_limit: an episode of 0 steps");
    w = bpi_wrap_make(io, BPI_WRAP_LIMIT, allocator, &s, error);
    if (!w) return s;
    w->n = steps;
    w->done = steps; /* no episode runs before the first reset */
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_env_normalise(bp_env *io, bp_normaliser *normaliser, bool update,
                                      const bp_allocator *allocator, bp_error *error) {
    bp_status s;
    bpi_wrap *w;
    if (!io || !normaliser) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_env_normalise: no environment or no normaliser");
    if (normaliser->size != io->spec.observation_size)
        return bpi_fail(error, BP_ERR_MISMATCH, "a normaliser of %zu entries for observations of %zu in '%s'",
                        normaliser->size, io->spec.observation_size, io->spec.name);
    w = bpi_wrap_make(io, BPI_WRAP_NORMALISE, allocator, &s, error);
    if (!w) return s;
    w->normaliser = normaliser;
    w->update = update;
    return bpi_ok(error);
}

/* ---- running mean and variance -------------------------------------------
 * Two sets of numbers, a (so far) and b (new), have counts n, means and sums of squared deviations m2.
 * For their union (Chan, Golub, LeVeque 1979):
 *
 *     delta  = mean_b - mean_a
 *     mean   = mean_a + delta n_b / (n_a + n_b)
 *     m2     = m2_a + m2_b + delta^2 n_a n_b / (n_a + n_b)
 *
 * The textbook E[x^2] - E[x]^2 would subtract two large, nearly equal numbers: for a joint angle of 1000 +- .001
 * nothing of the variance survives. Here only deviations are squared. Each block of at most 64 rows is
 * reduced in two passes (mean, then deviations) before it is merged. */

BPRIOR_API bp_status bp_normaliser_size(size_t size, size_t *bytes, bp_error *error) {
    size_t n;
    if (size == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "a normaliser of 0 entries");
    if (!bp_size_mul(&n, size, 3) || !bp_size_add(&n, n, 2) || !bp_size_mul(&n, n, sizeof(double)))
        return bpi_fail(error, BP_ERR_SIZE, "a normaliser of %zu entries does not fit the address space", size);
    *bytes = n;
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_normaliser_init(bp_normaliser *n, size_t size, void *memory, size_t bytes, bp_error *error) {
    size_t need = 0;
    const bp_status s = bp_normaliser_size(size, &need, error);
    if (s != BP_OK) return s;
    if (!memory || bytes < need)
        return bpi_fail(error, BP_ERR_SIZE, "a normaliser of %zu entries needs %zu bytes, got %zu", size, need,
                        memory ? bytes : (size_t)0);
    if ((uintptr_t)memory % sizeof(double) != 0)
        return bpi_fail(error, BP_ERR_ARGUMENT, "a normaliser's memory must be aligned for double");
    memset(n, 0, sizeof *n);
    memset(memory, 0, need);
    n->size = size;
    n->n_state = 2 + 3 * size;
    n->state = (double *)memory;
    n->count = n->state;
    n->skipped = n->state + 1;
    n->mean = n->state + 2;
    n->m2 = n->mean + size;
    n->exempt = n->m2 + size;
    n->clip = 10.0;
    n->epsilon = 1e-8;
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_normaliser_create(bp_normaliser *n, size_t size, const bp_allocator *allocator, bp_error *error) {
    size_t bytes = 0;
    void *memory;
    bp_status s = bp_normaliser_size(size, &bytes, error);
    if (s != BP_OK) return s;
    memory = bp_alloc(allocator, bytes);
    if (!memory) return bpi_fail(error, BP_ERR_MEMORY, "no memory for a normaliser of %zu entries", size);
    s = bp_normaliser_init(n, size, memory, bytes, error);
    if (s != BP_OK) {
        bp_free(allocator, memory, bytes);
        return s;
    }
    bpi_own(&n->owner, allocator, bytes);
    return s;
}

BPRIOR_API void bp_normaliser_destroy(bp_normaliser *n) {
    if (!n) return;
    bpi_disown(&n->owner, n->state);
    memset(n, 0, sizeof *n);
}

BPRIOR_API void bp_normaliser_exempt(bp_normaliser *n, size_t offset, size_t length) {
    size_t i;
    if (offset > n->size || length > n->size - offset) return;
    for (i = 0; i < length; i++) n->exempt[offset + i] = 1.0;
}

BPRIOR_API void bp_normaliser_update(bp_normaliser *n, const bp_real *observation, size_t rows) {
    size_t start, r, i;
    for (start = 0; start < rows; start += 64) {
        const bp_real *x = observation + start * n->size; /* [block][O] */
        const size_t block = bpi_min_size(rows - start, 64);
        bool good[64];
        double count_b = 0.0, total;

        for (r = 0; r < block; r++) {
            good[r] = true;
            for (i = 0; i < n->size; i++)
                if (!bpi_finite(x[r * n->size + i])) good[r] = false;
            if (good[r]) count_b += 1.0;
            else *n->skipped += 1.0;
        }
        if (count_b < 0.5) continue;
        total = *n->count + count_b;

        for (i = 0; i < n->size; i++) {
            /* shifted by the block's first good number, so that a constant entry has deviation exactly 0 */
            double origin = 0.0, sum = 0.0, mean_b, m2_b = 0.0, delta;
            bool found = false;
            for (r = 0; r < block; r++) {
                const double v = (double)x[r * n->size + i];
                if (!good[r]) continue;
                if (!found) origin = v;
                found = true;
                sum += v - origin;
            }
            mean_b = sum / count_b;
            for (r = 0; r < block; r++) {
                const double d = ((double)x[r * n->size + i] - origin) - mean_b;
                if (good[r]) m2_b += d * d;
            }
            mean_b += origin;
            delta = mean_b - n->mean[i];
            n->m2[i] += m2_b + (*n->count > 0.0 ? delta * delta * (*n->count * count_b / total) : 0.0);
            n->mean[i] = *n->count > 0.0 ? n->mean[i] + delta * (count_b / total) : mean_b;
        }
        *n->count = total;
    }
}

BPRIOR_API void bp_normaliser_apply(bp_real *out, const bp_normaliser *n, const bp_real *observation, size_t rows) {
    size_t r, i;
    for (i = 0; i < n->size; i++) {
        const double mean = n->mean[i];
        const double var = *n->count > 0.0 ? n->m2[i] / *n->count : 0.0;
        const double scale = var > 1e-12 * mean * mean ? 1.0 / sqrt(var + n->epsilon) : 1.0;
        if (n->exempt[i] > 0.0) {
            for (r = 0; r < rows; r++) out[r * n->size + i] = observation[r * n->size + i];
            continue;
        }
        for (r = 0; r < rows; r++) {
            const double y = ((double)observation[r * n->size + i] - mean) * scale;
            out[r * n->size + i] = (bp_real)bpi_clip_d(y, -n->clip, n->clip);
        }
    }
}

/* ---- the pendulum -------------------------------------------------------- */

#define BPI_PI 3.14159265358979323846

/* All that changes during an episode: what save() writes. */
typedef struct bpi_pendulum_state {
    double theta, speed;
    uint64_t step; /* steps done; == steps: no episode is running */
} bpi_pendulum_state;

typedef struct bpi_pendulum {
    bp_pendulum_config config;
    bp_owner owner;
    bpi_pendulum_state state;
} bpi_pendulum;

BPRIOR_API bp_pendulum_config bp_pendulum_config_make(uint32_t cookie) {
    bp_pendulum_config c;
    memset(&c, 0, sizeof c);
    c.cookie = cookie;
    if (cookie != BP_COOKIE(bp_pendulum_config)) return c;
    c.steps = 200;
    c.dt = 0.05;
    c.gravity = 10.0;
    c.mass = 1.0;
    c.length = 1.0;
    c.max_torque = 2.0;
    c.max_speed = 8.0;
    return c;
}

BPI_FN void bpi_pendulum_observe(const bpi_pendulum *p, bp_real *observation) {
    observation[0] = (bp_real)cos(p->state.theta);
    observation[1] = (bp_real)sin(p->state.theta);
    observation[2] = (bp_real)p->state.speed;
}

BPI_FN bp_status bpi_pendulum_reset(void *self, uint64_t seed, bp_real *observation) {
    bpi_pendulum *p = (bpi_pendulum *)self;
    bp_rng rng = bp_rng_make(seed, 0);
    p->state.theta = BPI_PI * (2.0 * bp_rng_uniform(&rng) - 1.0);
    p->state.speed = 2.0 * bp_rng_uniform(&rng) - 1.0;
    p->state.step = 0;
    bpi_pendulum_observe(p, observation);
    return BP_OK;
}

BPI_FN bp_status bpi_pendulum_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    bpi_pendulum *p = (bpi_pendulum *)self;
    const bp_pendulum_config *c = &p->config;
    bpi_pendulum_state *s = &p->state;
    double u, angle;
    if (s->step >= c->steps || !bpi_finite(action[0])) return BP_ERR_ENV;
    u = bpi_clip_d((double)action[0], -c->max_torque, c->max_torque);

    /* angle_normalize(theta) = ((theta + pi) mod 2 pi) - pi, the modulus never negative */
    angle = fmod(s->theta + BPI_PI, 2.0 * BPI_PI);
    if (angle < 0.0) angle += 2.0 * BPI_PI;
    angle -= BPI_PI;
    out->reward = (bp_real)(-(angle * angle + 0.1 * s->speed * s->speed + 0.001 * u * u));

    s->speed += (3.0 * c->gravity / (2.0 * c->length) * sin(s->theta) + 3.0 / (c->mass * c->length * c->length) * u) * c->dt;
    s->speed = bpi_clip_d(s->speed, -c->max_speed, c->max_speed);
    s->theta += s->speed * c->dt;
    s->step++;
    out->discount = 1;               /* it never terminates ... */
    out->last = s->step >= c->steps; /* ... we only stop looking */
    bpi_pendulum_observe(p, observation);
    return BP_OK;
}

BPI_FN size_t bpi_pendulum_save(void *self, void *buffer, size_t capacity) {
    bpi_pendulum *p = (bpi_pendulum *)self;
    return bpi_state_save("BPpendu", &p->state, sizeof p->state, buffer, capacity);
}

BPI_FN bp_status bpi_pendulum_load(void *self, const void *buffer, size_t bytes) {
    bpi_pendulum *p = (bpi_pendulum *)self;
    bpi_pendulum_state s;
    if (!bpi_state_ok("BPpendu", sizeof s, buffer, bytes)) return BP_ERR_FORMAT;
    memcpy(&s, (const unsigned char *)buffer + 8, sizeof s);
    if (!bpi_finite_d(s.theta) || !bpi_finite_d(s.speed) || s.step > p->config.steps) return BP_ERR_FORMAT;
    p->state = s;
    return BP_OK;
}

BPI_FN void bpi_pendulum_close(void *self) {
    bpi_pendulum *p = (bpi_pendulum *)self;
    bpi_disown(&p->owner, p);
}

/* Config fields that must be positive and finite, named in the message. */
BPI_FN bp_status bpi_check_positive(double x, const char *type, const char *field, bp_error *error) {
    if (x > 0.0 && bpi_finite_d(x)) return BP_OK;
    return bpi_fail(error, BP_ERR_ARGUMENT, "%s.%s is %g; it must be positive and finite", type, field, x);
}

BPRIOR_API bp_status bp_pendulum_env(bp_env *out, const bp_pendulum_config *config, const bp_allocator *allocator,
                                     bp_error *error) {
    const char *type = "bp_pendulum_config";
    bp_pendulum_config c = bp_pendulum_config_default();
    bpi_pendulum *p;
    bp_status s;
    if (config) c = *config;
    s = bpi_check_cookie(c.cookie, BP_COOKIE(bp_pendulum_config), type, error);
    if (s == BP_OK) s = bpi_check_positive(c.dt, type, "dt", error);
    if (s == BP_OK) s = bpi_check_positive(c.mass, type, "mass", error);
    if (s == BP_OK) s = bpi_check_positive(c.length, type, "length", error);
    if (s == BP_OK) s = bpi_check_positive(c.max_torque, type, "max_torque", error);
    if (s == BP_OK) s = bpi_check_positive(c.max_speed, type, "max_speed", error);
    if (s == BP_OK && !bpi_finite_d(c.gravity))
        s = bpi_fail(error, BP_ERR_ARGUMENT, "%s.gravity is not finite", type);
    if (s == BP_OK && c.steps == 0) s = bpi_fail(error, BP_ERR_ARGUMENT, "%s.steps is 0", type);
    if (s != BP_OK) return s;
    p = (bpi_pendulum *)bp_alloc(allocator, sizeof *p);
    if (!p) return bpi_fail(error, BP_ERR_MEMORY, "no memory for a pendulum");
    p->config = c;
    p->state.step = c.steps; /* reset() comes first */
    bpi_own(&p->owner, allocator, sizeof *p);

    memset(out, 0, sizeof *out);
    out->self = p;
    out->reset = bpi_pendulum_reset;
    out->step = bpi_pendulum_step;
    out->save = bpi_pendulum_save;
    out->load = bpi_pendulum_load;
    out->close = bpi_pendulum_close;
    bp_spec_begin(&out->spec, "pendulum");
    (void)bp_spec_add_field(&out->spec, "angle", 2, NULL);
    (void)bp_spec_add_field(&out->spec, "velocity", 1, NULL);
    (void)bp_spec_actions_continuous(&out->spec, 1, -c.max_torque, c.max_torque, NULL);
    return bpi_ok(error);
}

/* A maker's context is not const, but ours is only read. */
BPI_FN void *bpi_maker_ctx(const void *config) {
    void *ctx;
    memcpy(&ctx, &config, sizeof ctx);
    return ctx;
}

BPI_FN bp_status bpi_pendulum_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    BPI_UNUSED(index);
    return bp_pendulum_env(out, (const bp_pendulum_config *)ctx, NULL, error);
}

BPRIOR_API bp_env_maker bp_pendulum_maker(const bp_pendulum_config *config) {
    bp_env_maker m;
    m.make = bpi_pendulum_make;
    m.ctx = bpi_maker_ctx(config);
    return m;
}

/* ---- the point mass ------------------------------------------------------ */

typedef struct bpi_pointmass_state {
    double x[2], v[2], target[2];
    uint64_t step; /* as the pendulum's; also == steps after a termination */
} bpi_pointmass_state;

typedef struct bpi_pointmass {
    bp_pointmass_config config;
    bp_owner owner;
    bpi_pointmass_state state;
} bpi_pointmass;

BPRIOR_API bp_pointmass_config bp_pointmass_config_make(uint32_t cookie) {
    bp_pointmass_config c;
    memset(&c, 0, sizeof c);
    c.cookie = cookie;
    if (cookie != BP_COOKIE(bp_pointmass_config)) return c;
    c.steps = 1000;
    c.dt = 0.02;
    c.mass = 0.3;
    c.damping = 1.0;
    c.gear = 0.1;
    c.arena = 0.29;
    c.goal_radius = 0.03;
    c.goal_reward = 1.0;
    c.distance_cost = 0.0;
    c.end_at_goal = true;
    c.random_target = true;
    return c;
}

BPI_FN void bpi_pointmass_observe(const bpi_pointmass *p, bp_real *observation) {
    size_t k;
    for (k = 0; k < 2; k++) {
        observation[k] = (bp_real)p->state.x[k];
        observation[2 + k] = (bp_real)p->state.v[k];
        observation[4 + k] = (bp_real)p->state.target[k];
    }
}

BPI_FN double bpi_pointmass_distance(const bpi_pointmass_state *s) {
    const double dx = s->x[0] - s->target[0], dy = s->x[1] - s->target[1];
    return sqrt(dx * dx + dy * dy);
}

BPI_FN bp_status bpi_pointmass_reset(void *self, uint64_t seed, bp_real *observation) {
    bpi_pointmass *p = (bpi_pointmass *)self;
    const bp_pointmass_config *c = &p->config;
    bpi_pointmass_state *s = &p->state;
    bp_rng rng = bp_rng_make(seed, 0);
    size_t k, tries;
    memset(s, 0, sizeof *s);
    for (k = 0; k < 2; k++) s->x[k] = c->arena * (2.0 * bp_rng_uniform(&rng) - 1.0);
    for (k = 0; k < 2; k++) s->target[k] = c->target[k];
    /* redraw targets that are reached already; in a room that is nearly all target, give up at some point */
    for (tries = 0; c->random_target && tries < 1000; tries++) {
        for (k = 0; k < 2; k++) s->target[k] = c->arena * (2.0 * bp_rng_uniform(&rng) - 1.0);
        if (bpi_pointmass_distance(s) > c->goal_radius) break;
    }
    bpi_pointmass_observe(p, observation);
    return BP_OK;
}

BPI_FN bp_status bpi_pointmass_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    bpi_pointmass *p = (bpi_pointmass *)self;
    const bp_pointmass_config *c = &p->config;
    bpi_pointmass_state *s = &p->state;
    double distance;
    size_t k;
    bool reached;
    if (s->step >= c->steps || !bpi_finite(action[0]) || !bpi_finite(action[1])) return BP_ERR_ENV;

    /* mass (v' - v)/dt = gear u - damping v'   =>   v' = (mass v + dt gear u) / (mass + dt damping) */
    for (k = 0; k < 2; k++) {
        const double u = bpi_clip_d((double)action[k], -1.0, 1.0);
        s->v[k] = (c->mass * s->v[k] + c->dt * c->gear * u) / (c->mass + c->dt * c->damping);
        s->x[k] += c->dt * s->v[k];
        if (s->x[k] > c->arena || s->x[k] < -c->arena) {
            s->x[k] = s->x[k] > 0.0 ? c->arena : -c->arena;
            s->v[k] = 0.0;
        }
    }
    distance = bpi_pointmass_distance(s);
    reached = distance <= c->goal_radius;
    s->step++;
    out->reward = (bp_real)((reached ? c->goal_reward : 0.0) - c->distance_cost * distance);
    out->discount = reached && c->end_at_goal ? BP_R(0) : BP_R(1);
    if (reached && c->end_at_goal) s->step = c->steps;
    out->last = s->step >= c->steps;
    bpi_pointmass_observe(p, observation);
    return BP_OK;
}

BPI_FN size_t bpi_pointmass_save(void *self, void *buffer, size_t capacity) {
    bpi_pointmass *p = (bpi_pointmass *)self;
    return bpi_state_save("BPpoint", &p->state, sizeof p->state, buffer, capacity);
}

BPI_FN bp_status bpi_pointmass_load(void *self, const void *buffer, size_t bytes) {
    bpi_pointmass *p = (bpi_pointmass *)self;
    bpi_pointmass_state s;
    size_t k;
    if (!bpi_state_ok("BPpoint", sizeof s, buffer, bytes)) return BP_ERR_FORMAT;
    memcpy(&s, (const unsigned char *)buffer + 8, sizeof s);
    for (k = 0; k < 2; k++)
        if (!bpi_finite_d(s.x[k]) || !bpi_finite_d(s.v[k]) || !bpi_finite_d(s.target[k])) return BP_ERR_FORMAT;
    if (s.step > p->config.steps) return BP_ERR_FORMAT;
    p->state = s;
    return BP_OK;
}

BPI_FN void bpi_pointmass_close(void *self) {
    bpi_pointmass *p = (bpi_pointmass *)self;
    bpi_disown(&p->owner, p);
}

BPRIOR_API bp_status bp_pointmass_env(bp_env *out, const bp_pointmass_config *config, const bp_allocator *allocator,
                                      bp_error *error) {
    const char *type = "bp_pointmass_config";
    bp_pointmass_config c = bp_pointmass_config_default();
    bpi_pointmass *p;
    bp_status s;
    size_t k;
    if (config) c = *config;
    s = bpi_check_cookie(c.cookie, BP_COOKIE(bp_pointmass_config), type, error);
    if (s == BP_OK) s = bpi_check_positive(c.dt, type, "dt", error);
    if (s == BP_OK) s = bpi_check_positive(c.mass, type, "mass", error);
    if (s == BP_OK) s = bpi_check_positive(c.arena, type, "arena", error);
    if (s == BP_OK) s = bpi_check_positive(c.goal_radius, type, "goal_radius", error);
    if (s == BP_OK && c.goal_radius >= c.arena)
        s = bpi_fail(error, BP_ERR_ARGUMENT, "%s.goal_radius %g does not fit a room of half-size %g", type,
                     c.goal_radius, c.arena);
    if (s == BP_OK && !(c.damping >= 0.0 && bpi_finite_d(c.damping)))
        s = bpi_fail(error, BP_ERR_ARGUMENT, "%s.damping is %g; it must be finite and not negative", type, c.damping);
    if (s == BP_OK && !(bpi_finite_d(c.gear) && bpi_finite_d(c.goal_reward) && bpi_finite_d(c.distance_cost)))
        s = bpi_fail(error, BP_ERR_ARGUMENT, "%s: gear %g, goal_reward %g and distance_cost %g must be finite", type,
                     c.gear, c.goal_reward, c.distance_cost);
    if (s == BP_OK && c.steps == 0) s = bpi_fail(error, BP_ERR_ARGUMENT, "%s.steps is 0", type);
    for (k = 0; s == BP_OK && !c.random_target && k < 2; k++)
        if (!(c.target[k] >= -c.arena && c.target[k] <= c.arena))
            s = bpi_fail(error, BP_ERR_ARGUMENT, "%s.target[%zu] = %g is outside the room of half-size %g", type, k,
                         c.target[k], c.arena);
    if (s != BP_OK) return s;
    p = (bpi_pointmass *)bp_alloc(allocator, sizeof *p);
    if (!p) return bpi_fail(error, BP_ERR_MEMORY, "no memory for a point mass");
    p->config = c;
    p->state.step = c.steps;
    bpi_own(&p->owner, allocator, sizeof *p);

    memset(out, 0, sizeof *out);
    out->self = p;
    out->reset = bpi_pointmass_reset;
    out->step = bpi_pointmass_step;
    out->save = bpi_pointmass_save;
    out->load = bpi_pointmass_load;
    out->close = bpi_pointmass_close;
    bp_spec_begin(&out->spec, "pointmass");
    (void)bp_spec_add_field(&out->spec, "position", 2, NULL);
    (void)bp_spec_add_field(&out->spec, "velocity", 2, NULL);
    (void)bp_spec_add_field(&out->spec, "target", 2, NULL);
    (void)bp_spec_actions_continuous(&out->spec, 2, -1.0, 1.0, NULL);
    return bpi_ok(error);
}

BPI_FN bp_status bpi_pointmass_make(void *ctx, size_t index, bp_env *out, bp_error *error) {
    BPI_UNUSED(index);
    return bp_pointmass_env(out, (const bp_pointmass_config *)ctx, NULL, error);
}

BPRIOR_API bp_env_maker bp_pointmass_maker(const bp_pointmass_config *config) {
    bp_env_maker m;
    m.make = bpi_pointmass_make;
    m.ctx = bpi_maker_ctx(config);
    return m;
}

/* ---- bp_env_check -------------------------------------------------------- */

#define BPI_CHECK_GUARD 16 /* numbers behind the observation that must stay as they are */

/* Memory of one check. rec holds, per step: observation [O], reward, discount, last, and the observation
 * [O] of the reset before this step, if there was one. */
typedef struct bpi_env_checker {
    bp_env *env;
    uint64_t seed;
    size_t steps, width;
    bp_real *obs;    /* [O + guard] */
    bp_real *action; /* [A] */
    bp_real *rec;    /* [steps][2 O + 3] */
    uint64_t episode;
    bool over; /* the step before ended the episode */
} bpi_env_checker;

/* The field that observation entry i belongs to. */
BPI_FN const bp_field *bpi_spec_field_at(const bp_spec *spec, size_t i) {
    size_t k;
    for (k = 0; k + 1 < spec->n_fields; k++)
        if (i < spec->field[k].offset + spec->field[k].size) break;
    return &spec->field[k];
}

/* Before a call: NaN where it must write, a pattern where it must not. */
BPI_FN void bpi_check_arm(bpi_env_checker *k) {
    const size_t size = k->env->spec.observation_size;
    size_t i;
    for (i = 0; i < size; i++) k->obs[i] = (bp_real)NAN;
    for (i = 0; i < BPI_CHECK_GUARD; i++) k->obs[size + i] = (bp_real)((double)i + 0.25);
}

BPI_FN bp_status bpi_check_disarm(const bpi_env_checker *k, const char *call, size_t t, bp_error *error) {
    const bp_spec *spec = &k->env->spec;
    size_t i;
    for (i = 0; i < BPI_CHECK_GUARD; i++) {
        const double d = (double)k->obs[spec->observation_size + i] - ((double)i + 0.25);
        if (!(d >= 0.0 && d <= 0.0))
            return bpi_fail(error, BP_ERR_ENV, "'%s': %s (step %zu) writes past the %zu numbers of the observation",
                            spec->name, call, t, spec->observation_size);
    }
    for (i = 0; i < spec->observation_size; i++)
        if (!bpi_finite(k->obs[i])) {
            const bp_field *f = bpi_spec_field_at(spec, i);
            return bpi_fail(error, BP_ERR_NONFINITE,
                            "'%s': after %s (step %zu) entry %zu of field '%s' is not finite, or was not written",
                            spec->name, call, t, i - f->offset, f->name);
        }
    return BP_OK;
}

/* A random action for step t of the check: a function of (seed, t) only, so that passes can be repeated. */
BPI_FN void bpi_check_action(bpi_env_checker *k, size_t t) {
    const bp_spec *spec = &k->env->spec;
    bp_rng rng = bp_rng_make(bp_seed_mix(k->seed, 77, t), 0);
    size_t i;
    if (spec->action_kind == BP_ACTION_DISCRETE) {
        k->action[0] = (bp_real)bp_rng_index(&rng, spec->n_choices);
        return;
    }
    for (i = 0; i < spec->action_size; i++) {
        /* an infinite box is tried near its finite end, or near 0 */
        const double low = bpi_finite_d(spec->action_low[i])    ? spec->action_low[i]
                           : bpi_finite_d(spec->action_high[i]) ? spec->action_high[i] - 1.0
                                                                : -1.0;
        const double high = bpi_finite_d(spec->action_high[i]) ? spec->action_high[i] : low + 2.0;
        k->action[i] = (bp_real)(low + (high - low) * bp_rng_uniform(&rng));
    }
}

/* The number that differs, in words. */
BPI_FN bp_status bpi_check_differs(const bpi_env_checker *k, const bp_real *before, const char *what,
                                   const char *call, size_t t, bp_error *error) {
    const bp_spec *spec = &k->env->spec;
    const bp_field *f;
    size_t i;
    for (i = 0; i + 1 < spec->observation_size && memcmp(&before[i], &k->obs[i], sizeof before[0]) == 0; i++) {}
    f = bpi_spec_field_at(spec, i);
    return bpi_fail(error, BP_ERR_ENV, "'%s': %s: after %s (step %zu) entry %zu of field '%s' is %.9g, before it was %.9g",
                    spec->name, what, call, t, i - f->offset, f->name, (double)k->obs[i], (double)before[i]);
}

BPI_FN bp_status bpi_check_reset(bpi_env_checker *k, size_t t, bool compare, const char *what, bp_error *error) {
    const size_t size = k->env->spec.observation_size;
    bp_real *row = k->rec + t * k->width + size + 3;
    bp_status s;
    bpi_check_arm(k);
    s = k->env->reset(k->env->self, bp_seed_mix(k->seed, 78, k->episode), k->obs);
    k->episode++;
    k->over = false;
    if (s < BP_OK)
        return bpi_fail(error, s, "'%s': reset (before step %zu) failed: %s", k->env->spec.name, t, bp_status_str(s));
    s = bpi_check_disarm(k, "reset", t, error);
    if (s != BP_OK || t >= k->steps) return s;
    if (!compare) memcpy(row, k->obs, size * sizeof row[0]);
    else if (memcmp(row, k->obs, size * sizeof row[0]) != 0) return bpi_check_differs(k, row, what, "reset", t, error);
    return BP_OK;
}

/* Steps [from, to) of the fixed random play. compare: against rec, else into rec. `what` says what is being tested. */
BPI_FN bp_status bpi_check_play(bpi_env_checker *k, size_t from, size_t to, bool compare, const char *what,
                                bp_error *error) {
    const bp_spec *spec = &k->env->spec;
    const size_t size = spec->observation_size;
    size_t t;
    bp_status s;
    for (t = from; t < to; t++) {
        bp_real *row = k->rec + t * k->width;
        bp_real before[BP_MAX_ACTION];
        bp_step out;
        out.reward = (bp_real)NAN;
        out.discount = (bp_real)NAN;
        out.last = false;
        if (k->over) {
            s = bpi_check_reset(k, t, compare, what, error);
            if (s != BP_OK) return s;
        }
        bpi_check_action(k, t);
        memcpy(before, k->action, spec->action_size * sizeof before[0]);
        bpi_check_arm(k);
        s = k->env->step(k->env->self, k->action, k->obs, &out);
        if (s < BP_OK)
            return bpi_fail(error, s, "'%s': step %zu failed on an action inside the box: %s", spec->name, t,
                            bp_status_str(s));
        s = bpi_check_disarm(k, "step", t, error);
        if (s != BP_OK) return s;
        if (memcmp(before, k->action, spec->action_size * sizeof before[0]) != 0)
            return bpi_fail(error, BP_ERR_ENV, "'%s': step %zu changed the action it was given", spec->name, t);
        if (!bpi_finite(out.reward))
            return bpi_fail(error, BP_ERR_NONFINITE, "'%s': the reward of step %zu is not finite, or was not set",
                            spec->name, t);
        if (!(out.discount >= BP_R(0) && out.discount <= BP_R(1)))
            return bpi_fail(error, BP_ERR_ENV,
                            "'%s': the discount of step %zu is %g or was not set; it must be in [0,1] (0 = terminated)",
                            spec->name, t, (double)out.discount);
        if (!out.last && !(out.discount > BP_R(0)))
            return bpi_fail(error, BP_ERR_ENV,
                            "'%s': step %zu has discount 0 (terminated) but last = false; a termination sets both",
                            spec->name, t);
        k->over = out.last;
        if (!compare) {
            memcpy(row, k->obs, size * sizeof row[0]);
            row[size] = out.reward;
            row[size + 1] = out.discount;
            row[size + 2] = out.last ? BP_R(1) : BP_R(0);
            continue;
        }
        if (memcmp(row, k->obs, size * sizeof row[0]) != 0) return bpi_check_differs(k, row, what, "step", t, error);
        if (memcmp(&row[size], &out.reward, sizeof row[0]) != 0)
            return bpi_fail(error, BP_ERR_ENV, "'%s': %s: the reward of step %zu is %.9g, before it was %.9g",
                            spec->name, what, t, (double)out.reward, (double)row[size]);
        if (memcmp(&row[size + 1], &out.discount, sizeof row[0]) != 0 || (row[size + 2] > BP_R(0)) != out.last)
            return bpi_fail(error, BP_ERR_ENV, "'%s': %s: discount or last of step %zu differ", spec->name, what, t);
    }
    return BP_OK;
}

/* save/load: the middle of the play is saved, played past, restored and played again. */
BPI_FN bp_status bpi_check_saving(bpi_env_checker *k, bp_error *error) {
    bp_env *env = k->env;
    const char *name = env->spec.name;
    const size_t middle = k->steps / 2;
    uint64_t episode;
    bool over;
    size_t bytes, wrote;
    unsigned char *buffer;
    bp_status s;
    k->episode = 0;
    s = bpi_check_reset(k, 0, true, "the same seed again", error);
    if (s == BP_OK) s = bpi_check_play(k, 0, middle, true, "the same seed again", error);
    if (s != BP_OK) return s;
    episode = k->episode;
    over = k->over;
    bytes = env->save(env->self, NULL, 0);
    if (bytes == 0) return bpi_fail(error, BP_ERR_ENV, "'%s': save(NULL) says that a state takes 0 bytes", name);
    buffer = (unsigned char *)bp_alloc(NULL, bytes + 16);
    if (!buffer) return bpi_fail(error, BP_ERR_MEMORY, "'%s': no memory for a state of %zu bytes", name, bytes);
    memset(buffer, 0xA5, bytes + 16);
    wrote = env->save(env->self, buffer, bytes - 1);
    if (wrote != 0)
        s = bpi_fail(error, BP_ERR_ENV, "'%s': save writes into a buffer that is one byte too small", name);
    if (s == BP_OK) {
        size_t i;
        memset(buffer, 0xA5, bytes + 16);
        wrote = env->save(env->self, buffer, bytes);
        for (i = 0; i < 16; i++)
            if (buffer[bytes + i] != 0xA5) wrote = 0;
        if (wrote != bytes)
            s = bpi_fail(error, BP_ERR_ENV, "'%s': save announced %zu bytes and wrote another number", name, bytes);
    }
    if (s == BP_OK) s = bpi_check_play(k, middle, k->steps, true, "going on after save (save must not disturb)", error);
    if (s == BP_OK) {
        const bp_status l = env->load(env->self, buffer, bytes);
        if (l < BP_OK) s = bpi_fail(error, l, "'%s': load of its own state failed: %s", name, bp_status_str(l));
    }
    k->episode = episode;
    k->over = over;
    if (s == BP_OK) s = bpi_check_play(k, middle, k->steps, true, "after save and load", error);
    bp_free(NULL, buffer, bytes + 16);
    return s;
}

BPRIOR_API bp_status bp_env_check(bp_env *env, uint64_t seed, size_t steps, bp_error *error) {
    bpi_env_checker k;
    size_t n_obs, n_rec, total;
    bp_real *memory;
    bp_status s;
    if (!env) return bpi_fail(error, BP_ERR_ARGUMENT, "the environment is NULL");
    s = bp_spec_check(&env->spec, error);
    if (s != BP_OK) return s;
    if (!env->reset || !env->step || !env->close)
        return bpi_fail(error, BP_ERR_ARGUMENT, "'%s': %s is NULL", env->spec.name,
                        !env->reset ? "reset" : !env->step ? "step"
                                                           : "close");
    if (!env->save != !env->load)
        return bpi_fail(error, BP_ERR_ARGUMENT, "'%s': save and load must both be there or both be NULL",
                        env->spec.name);
    memset(&k, 0, sizeof k);
    k.env = env;
    k.seed = seed;
    k.steps = steps;
    if (!bp_size_mul(&k.width, env->spec.observation_size, 2) || !bp_size_add(&k.width, k.width, 3) ||
        !bp_size_add(&n_obs, env->spec.observation_size, BPI_CHECK_GUARD) || !bp_size_mul(&n_rec, k.width, steps) ||
        !bp_size_add(&total, n_obs, n_rec) || !bp_size_add(&total, total, BP_MAX_ACTION) ||
        !bp_size_mul(&total, total, sizeof(bp_real)))
        return bpi_fail(error, BP_ERR_SIZE, "'%s': %zu steps are too many to record", env->spec.name, steps);
    memory = (bp_real *)bp_alloc(NULL, total);
    if (!memory) return bpi_fail(error, BP_ERR_MEMORY, "'%s': no memory to record %zu steps", env->spec.name, steps);
    k.obs = memory;
    k.action = memory + n_obs;
    k.rec = memory + n_obs + BP_MAX_ACTION;

    s = bpi_check_reset(&k, 0, false, "", error);
    if (s == BP_OK) s = bpi_check_play(&k, 0, steps, false, "", error);
    k.episode = 0;
    if (s == BP_OK) s = bpi_check_reset(&k, 0, true, "the same seed again", error);
    if (s == BP_OK) s = bpi_check_play(&k, 0, steps, true, "the same seed and actions again", error);
    if (s == BP_OK && env->save) s = bpi_check_saving(&k, error);
    bp_free(NULL, memory, total);
    return s == BP_OK ? bpi_ok(error) : s;
}

/* ==========================================================================
 * 10. >>finite-impl   Finite MDPs
 *    provides: bp_mdp_* bp_gridworld_* bp_q_learning_update bp_inference_*
 *    needs: 1, 2, 3, 9        equations: E3 E3b E6 E7 E9 E11(d)
 * ========================================================================== */

/* Scratch of an MDP: one S x S matrix, four vectors over states, three tables over state-actions. */
BPI_FN double *bpi_mdp_matrix(const bp_mdp *m) { return m->work; }
BPI_FN double *bpi_mdp_vector(const bp_mdp *m, size_t i) { return m->work + m->S * m->S + i * m->S; }
BPI_FN double *bpi_mdp_table(const bp_mdp *m, size_t i) { return m->work + m->S * m->S + 4 * m->S + i * m->S * m->A; }

BPRIOR_API bp_status bp_mdp_size(size_t S, size_t A, size_t *bytes, bp_error *error) {
    size_t sa, sas, ss, n, t;
    if (S == 0 || A == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "an MDP of %zu states and %zu actions", S, A);
    if (!bp_size_mul(&sa, S, A) || !bp_size_mul(&sas, sa, S) || !bp_size_mul(&ss, S, S) || !bp_size_mul(&t, sa, 4) ||
        !bp_size_add(&n, sas, t) || !bp_size_add(&n, n, ss) || !bp_size_mul(&t, S, 5) || !bp_size_add(&n, n, t) ||
        !bp_size_mul(&n, n, sizeof(double)) || !bp_size_mul(&t, S, sizeof(bool)) || !bp_size_add(&n, n, t))
        return bpi_fail(error, BP_ERR_SIZE, "an MDP of %zu states and %zu actions does not fit the address space", S, A);
    *bytes = n;
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_mdp_init(bp_mdp *mdp, size_t S, size_t A, double gamma, void *memory, size_t bytes,
                                 bp_error *error) {
    size_t need = 0;
    const bp_status s = bp_mdp_size(S, A, &need, error);
    if (s != BP_OK) return s;
    if (!memory || bytes < need)
        return bpi_fail(error, BP_ERR_SIZE, "an MDP of %zu states and %zu actions needs %zu bytes, got %zu", S, A, need,
                        memory ? bytes : (size_t)0);
    if ((uintptr_t)memory % sizeof(double) != 0)
        return bpi_fail(error, BP_ERR_ARGUMENT, "an MDP's memory must be aligned for double");
    memset(mdp, 0, sizeof *mdp);
    memset(memory, 0, need);
    mdp->S = S;
    mdp->A = A;
    mdp->gamma = gamma;
    mdp->P = (double *)memory;
    mdp->R = mdp->P + S * A * S;
    mdp->p0 = mdp->R + S * A;
    mdp->work = mdp->p0 + S;
    mdp->terminal = (bool *)(void *)(mdp->work + S * S + 4 * S + 3 * S * A);
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_mdp_create(bp_mdp *mdp, size_t S, size_t A, double gamma, const bp_allocator *allocator,
                                   bp_error *error) {
    size_t bytes = 0;
    void *memory;
    bp_status s = bp_mdp_size(S, A, &bytes, error);
    if (s != BP_OK) return s;
    memory = bp_alloc(allocator, bytes);
    if (!memory) return bpi_fail(error, BP_ERR_MEMORY, "no memory for an MDP of %zu states and %zu actions", S, A);
    s = bp_mdp_init(mdp, S, A, gamma, memory, bytes, error);
    if (s != BP_OK) {
        bp_free(allocator, memory, bytes);
        return s;
    }
    bpi_own(&mdp->owner, allocator, bytes);
    return s;
}

BPRIOR_API void bp_mdp_destroy(bp_mdp *mdp) {
    if (!mdp) return;
    bpi_disown(&mdp->owner, mdp->P);
    memset(mdp, 0, sizeof *mdp);
}

/* Does p [n] add up to 1 without negative entries? NaN fails. */
BPI_FN bool bpi_is_distribution(const double *p, size_t n) {
    double sum = 0.0;
    size_t i;
    for (i = 0; i < n; i++) {
        if (!(p[i] >= 0.0)) return false;
        sum += p[i];
    }
    return fabs(sum - 1.0) <= 1e-9;
}

BPRIOR_API bp_status bp_mdp_check(const bp_mdp *mdp, bp_error *error) {
    size_t s, a;
    if (!(mdp->gamma >= 0.0 && mdp->gamma <= 1.0))
        return bpi_fail(error, BP_ERR_ARGUMENT, "the MDP's gamma is %g, not in [0,1]", mdp->gamma);
    if (!bpi_is_distribution(mdp->p0, mdp->S))
        return bpi_fail(error, BP_ERR_ARGUMENT, "the MDP's p0 is no probability distribution");
    for (s = 0; s < mdp->S; s++)
        for (a = 0; a < mdp->A && !mdp->terminal[s]; a++) {
            if (!bpi_is_distribution(mdp->P + (s * mdp->A + a) * mdp->S, mdp->S))
                return bpi_fail(error, BP_ERR_ARGUMENT, "P(.|s=%zu,a=%zu) is no probability distribution", s, a);
            if (!bpi_finite_d(mdp->R[s * mdp->A + a]))
                return bpi_fail(error, BP_ERR_ARGUMENT, "R(s=%zu,a=%zu) is not finite", s, a);
        }
    return bpi_ok(error);
}

/* A random distribution. Cubes make some entries much larger than others, which uniform numbers would not. */
BPI_FN void bpi_random_distribution(double *p, bp_rng *rng, size_t n, double least) {
    double sum = 0.0;
    size_t i;
    for (i = 0; i < n; i++) {
        const double u = bp_rng_uniform(rng);
        p[i] = least + u * u * u;
        sum += p[i];
    }
    for (i = 0; i < n; i++) p[i] /= sum;
}

BPRIOR_API void bp_mdp_random_policy(double *pi, bp_rng *rng, size_t S, size_t A) {
    size_t s;
    for (s = 0; s < S; s++) bpi_random_distribution(pi + s * A, rng, A, 0.01);
}

BPRIOR_API void bp_mdp_uniform_policy(double *pi, size_t S, size_t A) {
    size_t i;
    for (i = 0; i < S * A; i++) pi[i] = 1.0 / (double)A;
}

BPRIOR_API void bp_mdp_random(bp_mdp *mdp, bp_rng *rng, size_t successors) {
    const size_t S = mdp->S, A = mdp->A, k = successors == 0 || successors > S ? S : successors;
    size_t i, j, chosen;
    memset(mdp->P, 0, S * A * S * sizeof(double));
    for (i = 0; i < S * A; i++) {
        double *p = mdp->P + i * S;
        double sum = 0.0;
        mdp->R[i] = 2.0 * bp_rng_uniform(rng) - 1.0;
        /* k different states, each as likely to be among them (selection sampling, Knuth 3.4.2 S) */
        for (j = 0, chosen = 0; j < S && chosen < k; j++)
            if (bp_rng_uniform(rng) * (double)(S - j) < (double)(k - chosen)) {
                const double u = bp_rng_uniform(rng);
                p[j] = 0.01 + u * u * u;
                sum += p[j];
                chosen++;
            }
        for (j = 0; j < S; j++) p[j] /= sum;
    }
    bpi_random_distribution(mdp->p0, rng, S, 0.01);
    for (i = 0; i < S; i++) mdp->terminal[i] = false;
}

/* ---- exact evaluation ---------------------------------------------------- */

/* Solve M x = b by Gaussian elimination with partial pivoting: M [n][n] is destroyed, b [n] becomes x.
 * Row by row the largest entry of a column is moved to the diagonal, so that no multiplier exceeds 1 and rounding
 * errors do not grow. false: a pivot is so small that M is singular for all we can tell. */
BPI_FN bool bpi_solve(double *M, double *b, size_t n) {
    size_t i, j, k;
    for (k = 0; k < n; k++) {
        size_t best = k;
        double t;
        for (i = k + 1; i < n; i++)
            if (fabs(M[i * n + k]) > fabs(M[best * n + k])) best = i;
        if (!(fabs(M[best * n + k]) > 1e-13)) return false; /* entries of I - gamma P are of order 1 */
        if (best != k) {
            for (j = k; j < n; j++) {
                t = M[k * n + j];
                M[k * n + j] = M[best * n + j];
                M[best * n + j] = t;
            }
            t = b[k];
            b[k] = b[best];
            b[best] = t;
        }
        for (i = k + 1; i < n; i++) {
            const double f = M[i * n + k] / M[k * n + k];
            if (f > 0.0 || f < 0.0) {
                for (j = k + 1; j < n; j++) M[i * n + j] -= f * M[k * n + j];
                b[i] -= f * b[k];
            }
        }
    }
    for (k = n; k-- > 0;) {
        for (j = k + 1; j < n; j++) b[k] -= M[k * n + j] * b[j];
        b[k] /= M[k * n + k];
    }
    return true;
}

/* KL of two rows in nats; +infinity where p has mass and q has none; 0 log 0 = 0. q NULL: uniform. */
BPI_FN double bpi_kl_row(const double *p, const double *q, size_t n) {
    double kl = 0.0;
    size_t i;
    for (i = 0; i < n; i++)
        if (p[i] > 0.0) {
            const double qi = q ? q[i] : 1.0 / (double)n;
            if (!(qi > 0.0)) return (double)INFINITY;
            kl += p[i] * log(p[i] / qi);
        }
    return kl;
}

/* r + gamma E[V(s')] of one state-action. */
BPI_FN double bpi_mdp_backup(const bp_mdp *m, const double *V, size_t s, size_t a) {
    const double *p = m->P + (s * m->A + a) * m->S;
    double v = 0.0;
    size_t k;
    for (k = 0; k < m->S; k++) v += p[k] * V[k];
    return m->R[s * m->A + a] + m->gamma * v;
}

BPI_FN void bpi_mdp_all_q(double *Q, const bp_mdp *m, const double *V) {
    size_t s, a;
    for (s = 0; s < m->S; s++)
        for (a = 0; a < m->A; a++) Q[s * m->A + a] = m->terminal[s] ? 0.0 : bpi_mdp_backup(m, V, s, a);
}

/* Matrix <- I - gamma P_pi, or its transpose; rows (and columns) of terminal states only have their 1. */
BPI_FN void bpi_mdp_system(double *M, const bp_mdp *m, const double *pi, bool transpose) {
    const size_t S = m->S, A = m->A;
    size_t s, a, k;
    for (s = 0; s < S; s++)
        for (k = 0; k < S; k++) {
            double p = 0.0;
            if (!m->terminal[s] && !m->terminal[k])
                for (a = 0; a < A; a++) p += pi[s * A + a] * m->P[(s * A + a) * S + k];
            M[transpose ? k * S + s : s * S + k] = (s == k ? 1.0 : 0.0) - m->gamma * p;
        }
}

BPI_FN bp_status bpi_mdp_singular(const bp_mdp *m, bp_error *error) {
    return bpi_fail(error, BP_ERR_ARGUMENT,
                    "I - gamma P is singular: with gamma %g this policy never ends, so its value is not defined", m->gamma);
}

/* V = E_pi[r + gamma V'] - alpha KL is linear in V:   (I - gamma P_pi) V = r_pi - alpha KL[pi || pi0]. */
BPRIOR_API bp_status bp_mdp_soft_evaluate(double *V, double *Q, const bp_mdp *mdp, const double *pi,
                                          const double *pi0, double alpha, bp_error *error) {
    const size_t S = mdp->S, A = mdp->A;
    double *M = bpi_mdp_matrix(mdp);
    size_t s, a;
    if (!(alpha >= 0.0)) return bpi_fail(error, BP_ERR_ARGUMENT, "alpha is %g; it must not be negative", alpha);
    for (s = 0; s < S; s++) {
        V[s] = 0.0;
        if (mdp->terminal[s]) continue;
        for (a = 0; a < A; a++) V[s] += pi[s * A + a] * mdp->R[s * A + a];
        if (alpha > 0.0) V[s] -= alpha * bpi_kl_row(pi + s * A, pi0 ? pi0 + s * A : NULL, A);
        if (!bpi_finite_d(V[s]))
            return bpi_fail(error, BP_ERR_NONFINITE, "state %zu: the policy has mass where the prior has none (or is not finite)", s);
    }
    bpi_mdp_system(M, mdp, pi, false);
    if (!bpi_solve(M, V, S)) return bpi_mdp_singular(mdp, error);
    if (Q) bpi_mdp_all_q(Q, mdp, V);
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_mdp_evaluate(double *V, double *Q, const bp_mdp *mdp, const double *pi, bp_error *error) {
    return bp_mdp_soft_evaluate(V, Q, mdp, pi, NULL, 0.0, error);
}

/* d = p0 + gamma P_pi^T d, restricted to states that are not terminal. */
BPRIOR_API bp_status bp_mdp_visitation(double *d, const bp_mdp *mdp, const double *pi, bp_error *error) {
    double *M = bpi_mdp_matrix(mdp);
    size_t s;
    for (s = 0; s < mdp->S; s++) d[s] = mdp->terminal[s] ? 0.0 : mdp->p0[s];
    bpi_mdp_system(M, mdp, pi, true);
    if (!bpi_solve(M, d, mdp->S)) return bpi_mdp_singular(mdp, error);
    for (s = 0; s < mdp->S; s++)
        if (d[s] < 0.0) d[s] = 0.0; /* rounding of a state that is never seen */
    return bpi_ok(error);
}

/* ---- best values --------------------------------------------------------- */

/* One row of E7:  V = alpha log sum_a p(a) exp(Q(a)/alpha),  pi(a) = p(a) exp((Q(a) - V)/alpha).
 *
 * Written so the exponentials cannot overflow: with m = max of Q where p > 0,
 *     V = m + alpha log sum_a p(a) exp((Q(a) - m)/alpha)
 * the exponents are <= 0 and one of them is 0. For alpha = 0 the sum keeps only the maxima and the
 * logarithm is multiplied by 0: V = m, and pi is the prior restricted to them.
 *
 * Large alpha has the opposite trouble: the sum is 1 - tiny, and alpha times the rounding error of its logarithm
 * drowns the answer, which tends to the mean of Q under p. Since p adds up to 1,
 *     sum_a p(a) exp(x) = 1 + sum_a p(a) (exp(x) - 1)        x = (Q(a) - m)/alpha
 * and log1p of the second sum, of expm1's, keeps all digits. It is used while the sum is above 1/2. */
BPI_FN double bpi_soft_max_row(double *pi, const double *Q, const double *p, double alpha, size_t n) {
    const double flat = 1.0 / (double)n;
    double m = -(double)INFINITY, sum = 0.0, less = 0.0;
    size_t i;
    for (i = 0; i < n; i++)
        if ((p ? p[i] : flat) > 0.0 && Q[i] > m) m = Q[i];
    for (i = 0; i < n; i++) {
        const double pri = p ? p[i] : flat;
        double e = 0.0;
        if (pri > 0.0) e = alpha > 0.0 ? pri * exp((Q[i] - m) / alpha) : (Q[i] >= m ? pri : 0.0);
        if (pri > 0.0 && alpha > 0.0) less += pri * expm1((Q[i] - m) / alpha);
        if (pi) pi[i] = e;
        sum += e;
    }
    for (i = 0; pi && i < n; i++) pi[i] /= sum;
    return alpha > 0.0 ? m + alpha * (sum > 0.5 ? log1p(less) : log(sum)) : m;
}

/* A prior that can be planned with: distributions in all states that matter. */
BPI_FN bp_status bpi_check_prior(const bp_mdp *mdp, const double *pi0, double alpha, bp_error *error) {
    size_t s;
    if (!(alpha >= 0.0 && bpi_finite_d(alpha)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "alpha is %g; it must be finite and not negative", alpha);
    for (s = 0; pi0 && s < mdp->S; s++)
        if (!mdp->terminal[s] && !bpi_is_distribution(pi0 + s * mdp->A, mdp->A))
            return bpi_fail(error, BP_ERR_ARGUMENT, "the prior of state %zu is no probability distribution", s);
    return BP_OK;
}

/* Both iterations contract distances by gamma. If a sweep changes V by delta, what is still to come is at
 * most delta (gamma + gamma^2 + ...) = delta gamma/(1-gamma): that gives the stopping rule. The same bound says
 * after how many sweeps it must be met; should rounding prevent that, we stop there. With gamma = 1 there
 * is no bound: we stop when a sweep changes nothing that matters, or give up. */
BPRIOR_API bp_status bp_mdp_soft_value_iteration(double *V, double *Q, double *pi, const bp_mdp *mdp,
                                                 const double *pi0, double alpha, double tolerance,
                                                 size_t *iterations, bp_error *error) {
    const size_t S = mdp->S, A = mdp->A;
    const double g = mdp->gamma, left = g < 1.0 ? g / (1.0 - g) : 1.0;
    double *table = bpi_mdp_table(mdp, 0), *next = bpi_mdp_vector(mdp, 0);
    size_t s, sweep;
    double delta, scale, budget = 1e5;
    bp_status status = bpi_check_prior(mdp, pi0, alpha, error);
    if (status != BP_OK) return status;
    if (!(tolerance > 0.0)) return bpi_fail(error, BP_ERR_ARGUMENT, "tolerance is %g; it must be positive", tolerance);
    for (s = 0; s < S; s++) V[s] = 0.0;
    for (sweep = 1;; sweep++) {
        bpi_mdp_all_q(table, mdp, V);
        delta = 0.0;
        scale = 0.0;
        for (s = 0; s < S; s++) {
            next[s] = mdp->terminal[s] ? 0.0
                                       : bpi_soft_max_row(NULL, table + s * A, pi0 ? pi0 + s * A : NULL, alpha, A);
            if (!(fabs(next[s] - V[s]) <= delta)) delta = fabs(next[s] - V[s]);
            if (fabs(next[s]) > scale) scale = fabs(next[s]);
        }
        memcpy(V, next, S * sizeof(double));
        if (!bpi_finite_d(delta) || (g >= 1.0 && (double)sweep > budget))
            return bpi_fail(error, BP_ERR_NONFINITE, "values did not converge in %zu sweeps (gamma %g)", sweep, g);
        /* below rounding nothing improves any more */
        if (delta * left <= tolerance || delta <= 4e-16 * scale) break;
        /* delta_k <= gamma^(k-1) delta_1 <= tolerance/left */
        if (sweep == 1 && g < 1.0) budget = 2.0 + log(tolerance / (left * delta)) / log(g);
        if (g < 1.0 && (double)sweep > budget) break;
    }
    if (iterations) *iterations = sweep;
    bpi_mdp_all_q(table, mdp, V);
    if (pi)
        for (s = 0; s < S; s++)
            (void)bpi_soft_max_row(pi + s * A, table + s * A, pi0 && !mdp->terminal[s] ? pi0 + s * A : NULL, alpha, A);
    if (Q) memcpy(Q, table, S * A * sizeof(double));
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_mdp_value_iteration(double *V, double *Q, const bp_mdp *mdp, double tolerance,
                                            size_t *iterations, bp_error *error) {
    /* alpha = 0 with a prior that forbids nothing is the plain maximum */
    return bp_mdp_soft_value_iteration(V, Q, NULL, mdp, NULL, 0.0, tolerance, iterations, error);
}

/* Is b better than a by more than rounding? Two equally good actions often differ in the last bit only, and which way
 * depends on the compiler; the same policy should come out everywhere. */
BPI_FN bool bpi_clearly_better(double b, double a) { return b > a + 1e-11 * (fabs(a) > 1.0 ? fabs(a) : 1.0); }

BPRIOR_API void bp_mdp_greedy(double *pi, const double *Q, size_t S, size_t A) {
    size_t s, a;
    for (s = 0; s < S; s++) {
        size_t best = 0;
        for (a = 1; a < A; a++)
            if (bpi_clearly_better(Q[s * A + a], Q[s * A + best])) best = a;
        for (a = 0; a < A; a++) pi[s * A + a] = a == best ? 1.0 : 0.0;
    }
}

BPRIOR_API bp_status bp_mdp_soft_horizon(double *V, double *Q, double *pi, const bp_mdp *mdp, const double *pi0,
                                         double alpha, size_t T, bp_error *error) {
    const size_t S = mdp->S, A = mdp->A;
    double *table = bpi_mdp_table(mdp, 0);
    size_t t, s;
    const bp_status status = bpi_check_prior(mdp, pi0, alpha, error);
    if (status != BP_OK) return status;
    for (s = 0; s < S; s++) V[T * S + s] = 0.0;
    for (t = T; t-- > 0;) {
        bpi_mdp_all_q(table, mdp, V + (t + 1) * S);
        for (s = 0; s < S; s++) {
            const double *prior = pi0 && !mdp->terminal[s] ? pi0 + s * A : NULL;
            const double v = bpi_soft_max_row(pi ? pi + (t * S + s) * A : NULL, table + s * A, prior, alpha, A);
            V[t * S + s] = mdp->terminal[s] ? 0.0 : v;
        }
        if (Q) memcpy(Q + t * S * A, table, S * A * sizeof(double));
    }
    return bpi_ok(error);
}

BPRIOR_API double bp_q_learning_update(double *Q, size_t s, size_t a, double reward, double discount, size_t next,
                                       double rate, size_t A) {
    const double *row = Q + next * A;
    double best = row[0], td;
    size_t k;
    for (k = 1; k < A; k++)
        if (row[k] > best) best = row[k];
    /* at a termination the next state's row must not matter, not even when it is infinite */
    td = reward + (discount > 0.0 ? discount * best : 0.0) - Q[s * A + a];
    Q[s * A + a] += rate * td;
    return td;
}

/* ---- control as inference ------------------------------------------------ */

BPI_FN bp_status bpi_check_inference(const bp_mdp *mdp, const double *prior, double alpha, bp_error *error) {
    if (!(alpha > 0.0)) return bpi_fail(error, BP_ERR_ARGUMENT, "alpha is %g; inference needs alpha > 0", alpha);
    return bpi_check_prior(mdp, prior, alpha, error);
}

/* log sum_i w_i exp(x_i), from the largest x_i with w_i > 0 down. All weights 0: -infinity. */
BPI_FN double bpi_log_mean_exp(const double *w, const double *x, size_t n) {
    double m = -(double)INFINITY, sum = 0.0;
    size_t i;
    for (i = 0; i < n; i++)
        if (w[i] > 0.0 && x[i] > m) m = x[i];
    if (!bpi_finite_d(m)) return m;
    for (i = 0; i < n; i++)
        if (w[i] > 0.0) sum += w[i] * exp(x[i] - m);
    return m + log(sum);
}

BPRIOR_API bp_status bp_inference_backward_messages(double *log_beta_sa, double *log_beta, const bp_mdp *mdp,
                                                    const double *prior, double alpha, size_t T, bp_error *error) {
    const size_t S = mdp->S, A = mdp->A;
    double *flat = bpi_mdp_table(mdp, 0);
    size_t t, s, a;
    const bp_status status = bpi_check_inference(mdp, prior, alpha, error);
    if (status != BP_OK) return status;
    for (a = 0; a < A; a++) flat[a] = 1.0 / (double)A;
    for (s = 0; s < S; s++) log_beta[T * S + s] = 0.0;
    for (t = T; t-- > 0;)
        for (s = 0; s < S; s++) {
            double *row = log_beta_sa + (t * S + s) * A;
            for (a = 0; a < A; a++)
                /* log beta_t(s,a) = r/alpha + log sum_s' P(s'|s,a) beta_{t+1}(s') */
                row[a] = mdp->terminal[s] ? 0.0
                                          : mdp->R[s * A + a] / alpha +
                                                bpi_log_mean_exp(mdp->P + (s * A + a) * S, log_beta + (t + 1) * S, S);
            /* log beta_t(s) = log sum_a p(a|s) beta_t(s,a) */
            log_beta[t * S + s] = mdp->terminal[s] ? 0.0 : bpi_log_mean_exp(prior ? prior + s * A : flat, row, A);
        }
    return bpi_ok(error);
}

BPRIOR_API void bp_inference_policy(double *pi, const double *log_beta_sa, const double *log_beta, const bp_mdp *mdp,
                                    const double *prior, size_t T) {
    const size_t S = mdp->S, A = mdp->A;
    size_t t, s, a;
    for (t = 0; t < T; t++)
        for (s = 0; s < S; s++)
            for (a = 0; a < A; a++) {
                const size_t i = (t * S + s) * A + a;
                const double p = prior ? prior[s * A + a] : 1.0 / (double)A;
                pi[i] = mdp->terminal[s] || !(p > 0.0) ? p : p * exp(log_beta_sa[i] - log_beta[t * S + s]);
            }
}

BPRIOR_API bp_status bp_inference_forward_messages(double *f, const bp_mdp *mdp, const double *prior, double alpha,
                                                   size_t T, bp_error *error) {
    const size_t S = mdp->S, A = mdp->A;
    size_t t, s, a, k;
    const bp_status status = bpi_check_inference(mdp, prior, alpha, error);
    if (status != BP_OK) return status;
    memcpy(f, mdp->p0, S * sizeof(double));
    for (t = 0; t < T; t++) {
        const double *now = f + t * S;
        double *next = f + (t + 1) * S;
        double best = -(double)INFINITY, sum = 0.0;
        /* weights exp(r/alpha) only matter up to a factor: divide by the largest that can occur */
        for (s = 0; s < S; s++)
            for (a = 0; now[s] > 0.0 && a < A; a++) {
                const double r = mdp->terminal[s] ? 0.0 : mdp->R[s * A + a] / alpha;
                if ((mdp->terminal[s] || !prior || prior[s * A + a] > 0.0) && r > best) best = r;
            }
        for (k = 0; k < S; k++) next[k] = 0.0;
        for (s = 0; s < S; s++) {
            if (!(now[s] > 0.0)) continue;
            if (mdp->terminal[s]) {
                next[s] += now[s] * exp(0.0 - best);
                continue;
            }
            for (a = 0; a < A; a++) {
                const double p = prior ? prior[s * A + a] : 1.0 / (double)A;
                const double w = p > 0.0 ? now[s] * p * exp(mdp->R[s * A + a] / alpha - best) : 0.0;
                for (k = 0; k < S; k++) next[k] += w * mdp->P[(s * A + a) * S + k];
            }
        }
        for (k = 0; k < S; k++) sum += next[k];
        if (!(sum > 0.0))
            return bpi_fail(error, BP_ERR_NONFINITE, "forward messages vanish at step %zu: rewards/alpha differ too much", t);
        for (k = 0; k < S; k++) next[k] /= sum;
    }
    return bpi_ok(error);
}

BPRIOR_API void bp_inference_marginals(double *marginal, const double *f, const double *log_beta, size_t S, size_t T) {
    size_t t, s;
    for (t = 0; t <= T; t++) {
        const double *ft = f + t * S, *bt = log_beta + t * S;
        const double total = bpi_log_mean_exp(ft, bt, S);
        for (s = 0; s < S; s++) marginal[t * S + s] = ft[s] > 0.0 ? ft[s] * exp(bt[s] - total) : 0.0;
    }
}

/* ---- grid worlds --------------------------------------------------------- */

BPRIOR_API bp_gridworld_config bp_gridworld_config_make(uint32_t cookie) {
    bp_gridworld_config c;
    memset(&c, 0, sizeof c);
    c.cookie = cookie;
    if (cookie != BP_COOKIE(bp_gridworld_config)) return c;
    c.gamma = 0.95;
    c.step_reward = -0.1;
    c.wall_reward = -0.5;
    c.goal_reward = 1.0;
    c.goal_ends = true;
    c.slip = 0.0;
    return c;
}

BPRIOR_API size_t bp_gridworld_state(const bp_gridworld *grid, size_t row, size_t col) {
    return row < grid->rows && col < grid->cols ? grid->state[row * grid->cols + col] : grid->mdp.S;
}

BPRIOR_API void bp_gridworld_destroy(bp_gridworld *grid) {
    if (!grid) return;
    bp_mdp_destroy(&grid->mdp);
    bpi_disown(&grid->owner, grid->cell);
    memset(grid, 0, sizeof *grid);
}

/* Where a move leads: the neighbour, or the state itself when a wall is in the way. */
BPI_FN size_t bpi_grid_move(const bp_gridworld *g, size_t s, size_t action, bool *bumped) {
    const size_t row = g->cell[s] / g->cols, col = g->cell[s] % g->cols;
    size_t next = s;
    /* row - 1 at row 0 wraps to SIZE_MAX, which is outside the map, hence wall */
    if (action == BP_GRID_UP) next = bp_gridworld_state(g, row - 1, col);
    else if (action == BP_GRID_DOWN) next = bp_gridworld_state(g, row + 1, col);
    else if (action == BP_GRID_LEFT) next = bp_gridworld_state(g, row, col - 1);
    else if (action == BP_GRID_RIGHT) next = bp_gridworld_state(g, row, col + 1);
    *bumped = next >= g->mdp.S;
    return *bumped ? s : next;
}

BPRIOR_API bp_status bp_gridworld_create(bp_gridworld *grid, const char *map, const bp_gridworld_config *config,
                                         const bp_allocator *allocator, bp_error *error) {
    bp_gridworld_config c = bp_gridworld_config_default();
    size_t rows = 0, cols = 0, row, col, i, n_states = 0, n_starts = 0, n_plain = 0, n, bytes, s, a, k;
    bp_status status;
    memset(grid, 0, sizeof *grid);
    if (!map) return bpi_fail(error, BP_ERR_ARGUMENT, "the map is NULL");
    if (config) c = *config;
    status = bpi_check_cookie(c.cookie, BP_COOKIE(bp_gridworld_config), "bp_gridworld_config", error);
    if (status != BP_OK) return status;
    if (!(c.gamma >= 0.0 && c.gamma <= 1.0) || !(c.slip >= 0.0 && c.slip <= 1.0))
        return bpi_fail(error, BP_ERR_ARGUMENT, "gamma %g and slip %g must be in [0,1]", c.gamma, c.slip);
    if (!bpi_finite_d(c.step_reward) || !bpi_finite_d(c.wall_reward) || !bpi_finite_d(c.goal_reward))
        return bpi_fail(error, BP_ERR_ARGUMENT, "rewards %g, %g, %g must be finite", c.step_reward, c.wall_reward,
                        c.goal_reward);

    /* pass 1: size of the map, and what is on it */
    for (i = 0, row = 1, col = 0; map[i]; i++) {
        const char ch = map[i];
        if (ch == '\n') {
            row++;
            col = 0;
            continue;
        }
        col++;
        if (ch != '#' && ch != 'G' && ch != 'S' && ch != ' ' && ch != '.')
            return bpi_fail(error, BP_ERR_ARGUMENT, "map line %zu, column %zu: '%c' is none of # G S . and blank", row, col, ch);
        rows = row;
        if (col > cols) cols = col;
        if (ch != '#') n_states++;
        if (ch == 'S') n_starts++;
        if (ch == ' ' || ch == '.') n_plain++;
    }
    if (n_starts + n_plain == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "the map has no cell to start in");

    status = bp_mdp_create(&grid->mdp, n_states, 5, c.gamma, allocator, error);
    if (status != BP_OK) return status;
    if (!bp_size_mul(&n, rows, cols) || !bp_size_add(&n, n, n_states) || !bp_size_mul(&bytes, n, sizeof(size_t))) {
        bp_gridworld_destroy(grid);
        return bpi_fail(error, BP_ERR_SIZE, "a map of %zu x %zu does not fit the address space", rows, cols);
    }
    grid->cell = (size_t *)bp_alloc(allocator, bytes);
    if (!grid->cell) {
        bp_gridworld_destroy(grid);
        return bpi_fail(error, BP_ERR_MEMORY, "no memory for a map of %zu x %zu", rows, cols);
    }
    bpi_own(&grid->owner, allocator, bytes);
    grid->state = grid->cell + n_states;
    grid->rows = rows;
    grid->cols = cols;

    /* pass 2: number the cells */
    for (i = 0; i < rows * cols; i++) grid->state[i] = n_states;
    for (i = 0, row = 0, col = 0, s = 0; map[i]; i++) {
        if (map[i] == '\n') {
            row++;
            col = 0;
            continue;
        }
        if (map[i] != '#') {
            const double starts = (double)(n_starts ? n_starts : n_plain);
            grid->state[row * cols + col] = s;
            grid->cell[s] = row * cols + col;
            grid->mdp.terminal[s] = map[i] == 'G' && c.goal_ends;
            /* goals are marked in the scratch table for pass 3 */
            bpi_mdp_table(&grid->mdp, 0)[s] = map[i] == 'G' ? 1.0 : 0.0;
            grid->mdp.p0[s] = (n_starts ? map[i] == 'S' : map[i] != 'G') ? 1.0 / starts : 0.0;
            s++;
        }
        col++;
    }

    /* pass 3: with probability 1 - slip the move asked for, else any of the four */
    for (s = 0; s < n_states; s++)
        for (a = 0; a < 5; a++)
            for (k = 0; k < 5; k++) {
                const double weight = (k == a ? 1.0 - c.slip : 0.0) + (k != BP_GRID_STAY ? 0.25 * c.slip : 0.0);
                bool bumped;
                const size_t next = bpi_grid_move(grid, s, k, &bumped);
                const bool goal = bpi_mdp_table(&grid->mdp, 0)[next] > 0.0 && next != s;
                grid->mdp.P[(s * 5 + a) * n_states + next] += weight;
                grid->mdp.R[s * 5 + a] += weight * (bumped ? c.wall_reward : goal ? c.goal_reward
                                                                                  : c.step_reward);
            }
    return bpi_ok(error);
}

BPRIOR_API bool bp_gridworld_draw(char *out, size_t capacity, const bp_gridworld *grid, const double *pi) {
    static const char mark[5] = {'o', '^', 'v', '<', '>'};
    size_t row, col, a, used = 0;
    if (capacity < grid->rows * (grid->cols + 1) + 1) return false;
    for (row = 0; row < grid->rows; row++) {
        for (col = 0; col < grid->cols; col++) {
            const size_t s = bp_gridworld_state(grid, row, col);
            size_t best = 0;
            if (s >= grid->mdp.S) {
                out[used++] = '#';
                continue;
            }
            for (a = 1; a < 5; a++)
                if (bpi_clearly_better(pi[s * 5 + a], pi[s * 5 + best])) best = a;
            out[used++] = grid->mdp.terminal[s] ? 'G' : mark[best];
        }
        out[used++] = '\n';
    }
    out[used] = '\0';
    return true;
}

/* ---- a finite MDP as an environment -------------------------------------- */

typedef struct bpi_mdp_state {
    uint64_t seed, step, state; /* state == S: no episode is running */
} bpi_mdp_state;

typedef struct bpi_mdp_env {
    const bp_mdp *mdp;
    size_t limit;
    bp_owner owner;
    bpi_mdp_state now;
} bpi_mdp_env;

BPI_FN void bpi_mdp_env_observe(const bpi_mdp_env *e, size_t state, bp_real *observation) {
    size_t i;
    for (i = 0; i < e->mdp->S; i++) observation[i] = i == state ? BP_R(1) : BP_R(0);
}

/* The entry of the distribution p [n] that u, uniform in [0,1), falls on. */
BPI_FN size_t bpi_draw(double u, const double *p, size_t n) {
    size_t i, last = 0;
    for (i = 0; i < n; i++) {
        if (!(p[i] > 0.0)) continue;
        if (u < p[i]) return i;
        u -= p[i];
        last = i; /* should rounding leave a rest, it goes to the last possible entry */
    }
    return last;
}

/* The random number of (seed, step) is a function of both, so that no generator needs saving. */
BPI_FN size_t bpi_mdp_draw(const bpi_mdp_env *e, const double *p) {
    bp_rng rng = bp_rng_make(e->now.seed, e->now.step);
    return bpi_draw(bp_rng_uniform(&rng), p, e->mdp->S);
}

BPI_FN bp_status bpi_mdp_env_reset(void *self, uint64_t seed, bp_real *observation) {
    bpi_mdp_env *e = (bpi_mdp_env *)self;
    e->now.seed = seed;
    e->now.step = 0;
    e->now.state = bpi_mdp_draw(e, e->mdp->p0);
    bpi_mdp_env_observe(e, (size_t)e->now.state, observation);
    return BP_OK;
}

BPI_FN bp_status bpi_mdp_env_step(void *self, const bp_real *action, bp_real *observation, bp_step *out) {
    bpi_mdp_env *e = (bpi_mdp_env *)self;
    const bp_mdp *m = e->mdp;
    const size_t a = bpi_action_index(action[0], m->A), s = (size_t)e->now.state;
    size_t next;
    if (a >= m->A || s >= m->S) return BP_ERR_ENV;
    e->now.step++;
    next = m->terminal[s] ? s : bpi_mdp_draw(e, m->P + (s * m->A + a) * m->S);
    out->reward = m->terminal[s] ? BP_R(0) : (bp_real)m->R[s * m->A + a];
    out->discount = m->terminal[next] ? BP_R(0) : BP_R(1);
    out->last = m->terminal[next] || (e->limit && e->now.step >= e->limit);
    e->now.state = out->last ? m->S : next;
    bpi_mdp_env_observe(e, next, observation);
    return BP_OK;
}

BPI_FN size_t bpi_mdp_env_save(void *self, void *buffer, size_t capacity) {
    bpi_mdp_env *e = (bpi_mdp_env *)self;
    return bpi_state_save("BPfinit", &e->now, sizeof e->now, buffer, capacity);
}

BPI_FN bp_status bpi_mdp_env_load(void *self, const void *buffer, size_t bytes) {
    bpi_mdp_env *e = (bpi_mdp_env *)self;
    bpi_mdp_state s;
    if (!bpi_state_ok("BPfinit", sizeof s, buffer, bytes)) return BP_ERR_FORMAT;
    memcpy(&s, (const unsigned char *)buffer + 8, sizeof s);
    if (s.state > e->mdp->S) return BP_ERR_FORMAT;
    e->now = s;
    return BP_OK;
}

BPI_FN void bpi_mdp_env_close(void *self) {
    bpi_mdp_env *e = (bpi_mdp_env *)self;
    bpi_disown(&e->owner, e);
}

BPRIOR_API bp_status bp_mdp_env(bp_env *out, const bp_mdp *mdp, size_t steps, const bp_allocator *allocator,
                                bp_error *error) {
    bpi_mdp_env *e;
    bp_status s = bp_mdp_check(mdp, error);
    if (s != BP_OK) return s;
    memset(out, 0, sizeof *out);
    bp_spec_begin(&out->spec, "mdp");
    s = bp_spec_add_field(&out->spec, "state", mdp->S, error);
    if (s == BP_OK) s = bp_spec_actions_discrete(&out->spec, mdp->A, error);
    if (s != BP_OK) return s;
    e = (bpi_mdp_env *)bp_alloc(allocator, sizeof *e);
    if (!e) return bpi_fail(error, BP_ERR_MEMORY, "no memory for an environment of %zu states", mdp->S);
    e->mdp = mdp;
    e->limit = steps;
    e->now.state = mdp->S;
    bpi_own(&e->owner, allocator, sizeof *e);
    out->self = e;
    out->reset = bpi_mdp_env_reset;
    out->step = bpi_mdp_env_step;
    out->save = bpi_mdp_env_save;
    out->load = bpi_mdp_env_load;
    out->close = bpi_mdp_env_close;
    return bpi_ok(error);
}

/* ==========================================================================
 * 11. >>objectives-impl   KL-regularised objectives
 *    provides: bp_prior_kind_* bp_regularised_reward bp_box_* bp_mdp_objective_* bp_trajectory_*
 *    needs: 1, 2, 9, 10        equations: E1 E2 E4 E5 E7 E8
 * ========================================================================== */

BPRIOR_API const char *bp_prior_kind_str(bp_prior_kind kind) {
    switch (kind) {
    case BP_PRIOR_NONE: return "none";
    case BP_PRIOR_UNIFORM: return "uniform";
    case BP_PRIOR_ISOTROPIC: return "isotropic";
    case BP_PRIOR_PREVIOUS: return "previous";
    case BP_PRIOR_LEARNED: return "learned";
    case BP_PRIOR_FIXED: return "fixed";
    }
    return "?";
}

BPRIOR_API bp_status bp_prior_kind_parse(bp_prior_kind *kind, const char *name, bp_error *error) {
    int i;
    for (i = 0; name && i < BP_PRIOR_KINDS; i++)
        if (strcmp(name, bp_prior_kind_str((bp_prior_kind)i)) == 0) {
            *kind = (bp_prior_kind)i;
            return bpi_ok(error);
        }
    return bpi_fail(error, BP_ERR_ARGUMENT,
                    "'%.40s' is no kind of prior; there are: none uniform isotropic previous learned fixed",
                    name ? name : "(null)");
}

BPRIOR_API bp_real bp_regularised_reward(bp_real reward, bp_real log_pi, bp_real log_pi0, bp_real alpha) {
    return reward - alpha * (log_pi - log_pi0);
}

BPRIOR_API double bp_box_log_volume(const bp_spec *spec) {
    double sum = 0.0;
    size_t i;
    if (spec->action_kind == BP_ACTION_DISCRETE) return log((double)spec->n_choices);
    for (i = 0; i < spec->action_size; i++) sum += log(spec->action_high[i] - spec->action_low[i]);
    return sum;
}

/* KL[pi || u] = E[log pi] - E[log 1/Omega] = -H + log Omega */
BPRIOR_API double bp_uniform_kl(double entropy, double log_volume) { return log_volume - entropy; }

/* Both parts are sums over states, weighted by how much time is spent there:
 *     J = sum_s d(s) sum_a pi(a|s) r(s,a)         divergence = sum_s d(s) KL(s) */
BPRIOR_API bp_status bp_mdp_objective(bp_objective *out, const bp_mdp *mdp, const double *pi, const double *pi0,
                                      double alpha, bp_error *error) {
    const size_t S = mdp->S, A = mdp->A;
    double *d = bpi_mdp_vector(mdp, 1);
    size_t s, a;
    bp_status status;
    memset(out, 0, sizeof *out);
    if (!(alpha >= 0.0)) return bpi_fail(error, BP_ERR_ARGUMENT, "alpha is %g; it must not be negative", alpha);
    status = bp_mdp_visitation(d, mdp, pi, error);
    if (status != BP_OK) return status;
    for (s = 0; s < S; s++) {
        if (!(d[s] > 0.0)) continue;
        for (a = 0; a < A; a++) out->reward += d[s] * pi[s * A + a] * mdp->R[s * A + a];
        out->divergence += d[s] * bpi_kl_row(pi + s * A, pi0 ? pi0 + s * A : NULL, A);
    }
    out->value = out->reward;
    if (alpha > 0.0) out->value -= alpha * out->divergence;
    if (!bpi_finite_d(out->value))
        return bpi_fail(error, BP_ERR_NONFINITE, "the policy has mass where the prior has none: the KL is infinite");
    return bpi_ok(error);
}

BPRIOR_API void bp_mdp_softmax(double *pi, const double *logits, size_t S, size_t A) {
    size_t s, a;
    for (s = 0; s < S; s++) {
        const double *x = logits + s * A;
        double m = x[0], sum = 0.0;
        for (a = 1; a < A; a++)
            if (x[a] > m) m = x[a];
        for (a = 0; a < A; a++) {
            pi[s * A + a] = exp(x[a] - m);
            sum += pi[s * A + a];
        }
        for (a = 0; a < A; a++) pi[s * A + a] /= sum;
    }
}

/* Derivation. Change pi in state s only. L changes each time s is visited, that is d(s) times, by the change of
 *
 *     V(s) = sum_a pi(a) [ Q(a) - alpha log(pi(a)/pi0(a)) ]
 *
 * with Q held (what follows is the same policy as before; this is the policy gradient theorem):
 *
 *     dL/dpi(a) = d [ Q(a) - alpha log(pi(a)/pi0(a)) - alpha ]
 *
 * A softmax pulls a gradient g back to pi(a) (g(a) - sum_b pi(b) g(b)). The constant -alpha drops out and the mean of
 * the rest is V(s):
 *
 *     dL/dlogit(a) = d pi(a) [ Q(a) - alpha log(pi(a)/pi0(a)) - V ]
 *
 * It vanishes where the bracket does, i.e. at pi = pi0 exp((Q - V)/alpha): E7. For the prior, dL/dlog pi0(a) = alpha d pi(a),
 * and log-softmax pulls g back to g(a) - pi0(a) sum_b g(b), so dL/dlogit0(a) = alpha d (pi(a) - pi0(a)): the gradient of a
 * cross-entropy, zero when the prior is the policy. */
BPRIOR_API bp_status bp_mdp_objective_backward(double *dlogits, double *dlogits0, double dL, const bp_mdp *mdp,
                                               const double *pi, const double *pi0, double alpha, bp_error *error) {
    const size_t S = mdp->S, A = mdp->A;
    double *V = bpi_mdp_vector(mdp, 1), *d = bpi_mdp_vector(mdp, 2), *Q = bpi_mdp_table(mdp, 1);
    size_t s, a;
    bp_status status = bp_mdp_soft_evaluate(V, Q, mdp, pi, pi0, alpha, error);
    if (status == BP_OK) status = bp_mdp_visitation(d, mdp, pi, error);
    if (status != BP_OK) return status;
    for (s = 0; s < S; s++)
        for (a = 0; a < A && d[s] > 0.0; a++) {
            const size_t i = s * A + a;
            const double p0 = pi0 ? pi0[i] : 1.0 / (double)A;
            const double log_ratio = alpha > 0.0 && pi[i] > 0.0 ? log(pi[i] / p0) : 0.0;
            if (dlogits) dlogits[i] += dL * d[s] * pi[i] * (Q[i] - alpha * log_ratio - V[s]);
            if (dlogits0) dlogits0[i] += dL * alpha * d[s] * (pi[i] - p0);
        }
    return bpi_ok(error);
}

/* State of the enumeration on the way down one trajectory. */
typedef struct bpi_enumeration {
    const bp_mdp *mdp;
    const double *pi, *pi0;
    size_t pi_stride, pi0_stride, T;
    bp_trajectory_sums *sums;
    bool impossible; /* pi0 forbids what pi did */
} bpi_enumeration;

/* p, p0: probabilities of the trajectory so far under pi and pi0 (E1); log_ratio = sum gamma^t log pi/pi0; ret = sum gamma^t r. */
BPI_FN void bpi_enumerate_from(bpi_enumeration *e, size_t t, size_t s, double p, double p0, double log_ratio,
                               double ret, double discount) {
    const bp_mdp *m = e->mdp;
    size_t a, k;
    if (t == e->T || m->terminal[s]) {
        e->sums->count++;
        e->sums->probability += p;
        e->sums->reward += p * ret;
        e->sums->divergence += p * log_ratio;
        e->sums->trajectory_kl += p * log(p / p0);
        return;
    }
    for (a = 0; a < m->A; a++) {
        const double pa = e->pi[t * e->pi_stride + s * m->A + a];
        const double pa0 = e->pi0[t * e->pi0_stride + s * m->A + a];
        if (!(pa > 0.0)) continue;
        if (!(pa0 > 0.0)) {
            e->impossible = true;
            continue;
        }
        for (k = 0; k < m->S; k++) {
            const double ps = m->P[(s * m->A + a) * m->S + k];
            if (ps > 0.0)
                bpi_enumerate_from(e, t + 1, k, p * ps * pa, p0 * ps * pa0, log_ratio + discount * log(pa / pa0),
                                   ret + discount * m->R[s * m->A + a], discount * m->gamma);
        }
    }
}

BPRIOR_API bp_status bp_trajectory_enumerate(bp_trajectory_sums *out, const bp_mdp *mdp, const double *pi,
                                             size_t pi_stride, const double *pi0, size_t pi0_stride, size_t T,
                                             bp_error *error) {
    bpi_enumeration e;
    size_t s;
    memset(out, 0, sizeof *out);
    e.mdp = mdp;
    e.pi = pi;
    e.pi0 = pi0;
    e.pi_stride = pi_stride;
    e.pi0_stride = pi0_stride;
    e.T = T;
    e.sums = out;
    e.impossible = false;
    for (s = 0; s < mdp->S; s++)
        if (mdp->p0[s] > 0.0) bpi_enumerate_from(&e, 0, s, mdp->p0[s], mdp->p0[s], 0.0, 0.0, 1.0);
    if (e.impossible)
        return bpi_fail(error, BP_ERR_NONFINITE, "the policy has mass where the prior has none: the KL is infinite");
    return bpi_ok(error);
}

/* ==========================================================================
 * 12. >>distral-impl   Distral
 *    provides: bp_distral_*  bp_tworooms_*
 *    needs: 1, 2, 3, 10, 11        equations: E10 E11 E12 E13
 * ========================================================================== */

/* ---- classes, mixtures: shared with chapter 13 ---------------------------- */

BPI_FN bp_status bpi_check_classes(const size_t *phi, size_t S, size_t C, bp_error *error) {
    size_t s;
    for (s = 0; s < S; s++)
        if (phi[s] >= C) return bpi_fail(error, BP_ERR_ARGUMENT, "phi(%zu) is class %zu, but there are %zu", s, phi[s], C);
    return BP_OK;
}

/* phi NULL: the class is the state. */
BPI_INLINE size_t bpi_class(const size_t *phi, size_t s) { return phi ? phi[s] : s; }

/* sum_s d(s) KL[pi(.|s) || prior(.|phi(s))] */
BPI_FN double bpi_mixture_loss(const double *prior, const double *d, const double *pi, const size_t *phi, size_t S,
                               size_t A) {
    double loss = 0.0;
    size_t s;
    for (s = 0; s < S; s++)
        if (d[s] > 0.0) loss += d[s] * bpi_kl_row(pi + s * A, prior + bpi_class(phi, s) * A, A);
    return loss;
}

/* Of that loss only -sum_{s in c} d(s) sum_a pi(a|s) log prior(a|c) depends on the prior: a cross-entropy whose target is
 * the unnormalised mixture m(a) = sum_{s in c} d(s) pi(a|s). Gibbs' inequality: it is least at prior = m / sum m. With
 * several tasks there are only more terms in m: p(w) d_w(s) pi_w(a|s), and dividing by their sum makes of p(w) d_w the
 * p(w|x) of E11.   Here: mixture [C][A] += weight * m ... */
BPI_FN void bpi_mixture_add(double *mixture, double weight, const double *d, const double *pi, const size_t *phi,
                            size_t S, size_t A) {
    size_t s, a;
    for (s = 0; s < S; s++)
        for (a = 0; a < A && d[s] > 0.0; a++) mixture[bpi_class(phi, s) * A + a] += weight * d[s] * pi[s * A + a];
}

/* ... and the division; rows without mass become uniform. */
BPI_FN void bpi_mixture_normalise(double *mixture, size_t C, size_t A) {
    size_t a, c;
    for (c = 0; c < C; c++) {
        double sum = 0.0;
        for (a = 0; a < A; a++) sum += mixture[c * A + a];
        for (a = 0; a < A; a++) mixture[c * A + a] = sum > 0.0 ? mixture[c * A + a] / sum : 1.0 / (double)A;
    }
}

/* ---- tasks --------------------------------------------------------------- */

BPRIOR_API size_t bp_distral_classes(const bp_distral_tasks *tasks) {
    return tasks->phi ? tasks->classes : tasks->mdp[0].S;
}

BPI_FN double bpi_task_weight(const bp_distral_tasks *tasks, size_t w) {
    return tasks->p ? tasks->p[w] : 1.0 / (double)tasks->n;
}

/* Say which task a failure belongs to. */
BPI_FN bp_status bpi_in_task(bp_status status, size_t w, bp_error *error) {
    if (status != BP_OK && error) {
        const bp_error inner = *error;
        (void)bpi_fail(error, status, "task %zu: %.220s", w, inner.text);
    }
    return status;
}

/* What is cheap to check, before every use. */
BPI_FN bp_status bpi_distral_check(const bp_distral_tasks *tasks, bp_error *error) {
    size_t w;
    if (!tasks || tasks->n == 0 || !tasks->mdp) return bpi_fail(error, BP_ERR_ARGUMENT, "there are no tasks");
    for (w = 0; w < tasks->n; w++)
        if (tasks->mdp[w].S != tasks->mdp[0].S || tasks->mdp[w].A != tasks->mdp[0].A || tasks->mdp[w].S == 0)
            return bpi_fail(error, BP_ERR_ARGUMENT, "task %zu has %zu states and %zu actions, task 0 has %zu and %zu", w,
                            tasks->mdp[w].S, tasks->mdp[w].A, tasks->mdp[0].S, tasks->mdp[0].A);
    if (tasks->p && !bpi_is_distribution(tasks->p, tasks->n))
        return bpi_fail(error, BP_ERR_ARGUMENT, "the tasks' p is no probability distribution over %zu tasks", tasks->n);
    return tasks->phi ? bpi_check_classes(tasks->phi, tasks->mdp[0].S, tasks->classes, error) : BP_OK;
}

BPRIOR_API bp_status bp_distral_check(const bp_distral_tasks *tasks, bp_error *error) {
    bp_status status = bpi_distral_check(tasks, error);
    size_t w;
    for (w = 0; status == BP_OK && w < tasks->n; w++) status = bpi_in_task(bp_mdp_check(&tasks->mdp[w], error), w, error);
    return status;
}

/* Both prices finite and not negative; `positive`: and not both zero. */
BPI_FN bp_status bpi_check_prices(double c_kl, double c_ent, bool positive, bp_error *error) {
    if (!(c_kl >= 0.0 && bpi_finite_d(c_kl)) || !(c_ent >= 0.0 && bpi_finite_d(c_ent)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "c_kl %g and c_ent %g must be finite and not negative", c_kl, c_ent);
    if (positive && !(c_kl + c_ent > 0.0))
        return bpi_fail(error, BP_ERR_ARGUMENT, "c_kl and c_ent are both 0: beta would be infinite");
    return BP_OK;
}

/* ---- L and its best prior ------------------------------------------------ */

BPI_FN double bpi_entropy_row(const double *p, size_t n) {
    double h = 0.0;
    size_t a;
    for (a = 0; a < n; a++)
        if (p[a] > 0.0) h -= p[a] * log(p[a]);
    return h;
}

/* All parts are sums over states, as in bp_mdp_objective():  E sum gamma^t x(s_t) = sum_s d(s) x(s). */
BPRIOR_API bp_status bp_distral_objective(bp_distral_value *out, bp_distral_value *each,
                                          const bp_distral_tasks *tasks, const double *pi, const double *prior,
                                          double c_kl, double c_ent, bp_error *error) {
    bp_status status = bpi_distral_check(tasks, error);
    size_t w, s, a;
    memset(out, 0, sizeof *out);
    if (status == BP_OK) status = bpi_check_prices(c_kl, c_ent, false, error);
    if (status != BP_OK) return status;
    for (w = 0; w < tasks->n; w++) {
        const bp_mdp *m = &tasks->mdp[w];
        const double *policy = pi + w * m->S * m->A, p = bpi_task_weight(tasks, w);
        double *d = bpi_mdp_vector(m, 1);
        bp_distral_value v = {0.0, 0.0, 0.0, 0.0};
        status = bp_mdp_visitation(d, m, policy, error);
        if (status != BP_OK) return bpi_in_task(status, w, error);
        for (s = 0; s < m->S; s++) {
            if (!(d[s] > 0.0)) continue;
            for (a = 0; a < m->A; a++) v.reward += d[s] * policy[s * m->A + a] * m->R[s * m->A + a];
            v.entropy += d[s] * bpi_entropy_row(policy + s * m->A, m->A);
        }
        v.divergence = bpi_mixture_loss(prior, d, policy, tasks->phi, m->S, m->A);
        v.value = v.reward + c_ent * v.entropy;
        if (c_kl > 0.0) v.value -= c_kl * v.divergence;
        if (!bpi_finite_d(v.value))
            return bpi_fail(error, BP_ERR_NONFINITE,
                            "task %zu: the policy has mass where the prior has none: the KL is infinite", w);
        if (each) each[w] = v;
        if (!(p > 0.0)) continue; /* 0 times an infinite divergence is 0 here */
        out->value += p * v.value;
        out->reward += p * v.reward;
        out->divergence += p * v.divergence;
        out->entropy += p * v.entropy;
    }
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_distral_loss(double *loss, const bp_distral_tasks *tasks, const double *pi,
                                     const double *prior, bp_error *error) {
    bp_status status = bpi_distral_check(tasks, error);
    size_t w;
    *loss = 0.0;
    for (w = 0; status == BP_OK && w < tasks->n; w++) {
        const bp_mdp *m = &tasks->mdp[w];
        const double *policy = pi + w * m->S * m->A, p = bpi_task_weight(tasks, w);
        double *d = bpi_mdp_vector(m, 1);
        status = bpi_in_task(bp_mdp_visitation(d, m, policy, error), w, error);
        if (status == BP_OK && p > 0.0) *loss += p * bpi_mixture_loss(prior, d, policy, tasks->phi, m->S, m->A);
    }
    return status;
}

BPRIOR_API bp_status bp_distral_best_prior(double *prior, const bp_distral_tasks *tasks, const double *pi,
                                           bp_error *error) {
    bp_status status = bpi_distral_check(tasks, error);
    size_t w, i;
    if (status != BP_OK) return status;
    for (i = 0; i < bp_distral_classes(tasks) * tasks->mdp[0].A; i++) prior[i] = 0.0;
    for (w = 0; w < tasks->n; w++) {
        const bp_mdp *m = &tasks->mdp[w];
        const double *policy = pi + w * m->S * m->A;
        double *d = bpi_mdp_vector(m, 1);
        status = bp_mdp_visitation(d, m, policy, error);
        if (status != BP_OK) return bpi_in_task(status, w, error);
        bpi_mixture_add(prior, bpi_task_weight(tasks, w), d, policy, tasks->phi, m->S, m->A);
    }
    bpi_mixture_normalise(prior, bp_distral_classes(tasks), tasks->mdp[0].A);
    return status;
}

/* ---- E13 is E7 with another prior and another reward ---------------------------
 * Derivation. One step's regulariser, with tau = c_kl + c_ent = 1/beta and alpha' = c_kl/tau:
 *
 *     c_kl KL[pi || pi0] - c_ent H[pi] = sum_a pi(a) [ (c_kl + c_ent) log pi(a) - c_kl log pi0(a) ]
 *                                      = tau sum_a pi(a) [ log pi(a) - log pi0(a)^alpha' ]
 *
 * pi0^alpha' does not add up to 1. Divide it by its sum, Z(s) = sum_a pi0(a|s)^alpha' and rho = pi0^alpha' / Z:
 *
 *                                      = tau KL[pi || rho] - tau log Z(s)
 *
 * So the published objective is E4 at the price tau, for the *tempered* prior rho (flatter than pi0: the entropy bonus) and
 * the reward r(s,a) + tau log Z(s). Z is 1 for alpha' = 1, and A for alpha' = 0, where each step is paid tau log A for
 * nothing; in between 1 <= Z <= A^(1 - alpha'). Whatever chapter 10 and 11 prove for E6 and E7 holds for E13, and their
 * solvers solve it. V is the same under both readings; Q without its own state's bonus is Distral's Q:
 *
 *     V = tau log sum_a rho exp((Q + tau log Z)/tau) = (1/beta) log sum_a pi0^alpha' exp(beta Q) */

/* One row: rho [n] = pi0^power / Z. Returns log Z. pi0 NULL: uniform. */
BPI_FN double bpi_temper_row(double *rho, const double *pi0, double power, size_t n) {
    double Z = 0.0;
    size_t a;
    for (a = 0; a < n; a++) {
        rho[a] = pi0 ? pi0[a] : 1.0 / (double)n;
        if (power < 1.0) rho[a] = pow(rho[a], power);
        Z += rho[a];
    }
    if (!(power < 1.0)) return 0.0; /* E7, to the last bit */
    for (a = 0; a < n; a++) rho[a] /= Z;
    return log(Z);
}

/* A view of mdp with the reward r + tau log Z, and rho [S][A]: both in mdp's scratch tables 1 and 2. prior [C][A], or NULL:
 * uniform. */
BPI_FN bp_status bpi_distral_view(bp_mdp *view, const double **rho, const bp_mdp *mdp, const double *prior,
                                  const size_t *phi, double c_kl, double c_ent, bp_error *error) {
    const double tau = c_kl + c_ent;
    double *tempered = bpi_mdp_table(mdp, 1), *reward = bpi_mdp_table(mdp, 2);
    size_t s, a;
    bp_status status = bpi_check_prices(c_kl, c_ent, true, error);
    if (status != BP_OK) return status;
    for (s = 0; s < mdp->S; s++) {
        const double *row = prior && !mdp->terminal[s] ? prior + bpi_class(phi, s) * mdp->A : NULL;
        double bonus;
        if (row && !bpi_is_distribution(row, mdp->A))
            return bpi_fail(error, BP_ERR_ARGUMENT, "the prior of state %zu is no probability distribution", s);
        bonus = tau * bpi_temper_row(tempered + s * mdp->A, row, c_kl / tau, mdp->A);
        for (a = 0; a < mdp->A; a++) reward[s * mdp->A + a] = mdp->R[s * mdp->A + a] + bonus;
    }
    *view = *mdp;
    view->R = reward;
    *rho = tempered;
    return BP_OK;
}

/* bp_distral_value_iteration() with a class map. */
BPI_FN bp_status bpi_distral_iterate(double *V, double *Q, double *pi, const bp_mdp *mdp, const double *prior,
                                     const size_t *phi, double c_kl, double c_ent, double tolerance,
                                     size_t *iterations, bp_error *error) {
    bp_mdp view;
    const double *rho;
    size_t i;
    bp_status status = bpi_distral_view(&view, &rho, mdp, prior, phi, c_kl, c_ent, error);
    if (status != BP_OK) return status;
    status = bp_mdp_soft_value_iteration(V, Q, pi, &view, rho, c_kl + c_ent, tolerance, iterations, error);
    for (i = 0; Q && status == BP_OK && i < mdp->S * mdp->A; i++)
        if (!mdp->terminal[i / mdp->A]) Q[i] -= view.R[i] - mdp->R[i];
    return status;
}

BPRIOR_API bp_status bp_distral_value_iteration(double *V, double *Q, double *pi, const bp_mdp *mdp,
                                                const double *pi0, double c_kl, double c_ent, double tolerance,
                                                size_t *iterations, bp_error *error) {
    return bpi_distral_iterate(V, Q, pi, mdp, pi0, NULL, c_kl, c_ent, tolerance, iterations, error);
}

BPRIOR_API bp_status bp_distral_best_policies(double *pi, double *V, const bp_distral_tasks *tasks,
                                              const double *prior, double c_kl, double c_ent, double tolerance,
                                              bp_error *error) {
    bp_status status = bpi_distral_check(tasks, error);
    size_t w;
    for (w = 0; status == BP_OK && w < tasks->n; w++) {
        const bp_mdp *m = &tasks->mdp[w];
        double *values = V ? V + w * m->S : bpi_mdp_vector(m, 1);
        status = bpi_distral_iterate(values, NULL, pi + w * m->S * m->A, m, prior, tasks->phi, c_kl, c_ent, tolerance,
                                     NULL, error);
        status = bpi_in_task(status, w, error);
    }
    return status;
}

/* Why each half cannot lower L: given the prior, L is a sum over tasks, and bp_distral_best_policies() maximises each of its
 * terms. Given the policies, visitations and rewards are fixed, and of L only -c_kl times bp_distral_loss() moves, which
 * bp_distral_best_prior() minimises. Stopping value iteration at a tolerance costs L only its square: L is flat at its top. */
BPRIOR_API bp_status bp_distral_solve(double *pi, double *prior, double *L, const bp_distral_tasks *tasks,
                                      double c_kl, double c_ent, size_t rounds, bp_error *error) {
    bp_distral_value v;
    bp_status status = BP_OK;
    size_t k;
    for (k = 0; status == BP_OK && k < rounds; k++) {
        status = bp_distral_best_policies(pi, NULL, tasks, prior, c_kl, c_ent, 1e-10, error);
        if (status == BP_OK && L) {
            status = bp_distral_objective(&v, NULL, tasks, pi, prior, c_kl, c_ent, error);
            L[2 * k] = v.value;
        }
        if (status == BP_OK) status = bp_distral_best_prior(prior, tasks, pi, error);
        if (status == BP_OK && L) {
            status = bp_distral_objective(&v, NULL, tasks, pi, prior, c_kl, c_ent, error);
            L[2 * k + 1] = v.value;
        }
    }
    return status;
}

/* ---- two columns ---------------------------------------------------------- */

/* pi [n] = softmax(x) with x(a) = scale (y(a) + z(a)), z NULL: 0. Returns (1/scale) log sum_a exp(x(a)).
 * The largest exponent is moved to 0, so nothing overflows and the sum is at least 1. pi NULL: only the value. */
BPI_FN double bpi_soft_row(double *pi, const double *y, const double *z, double scale, size_t n) {
    double m = -(double)INFINITY, sum = 0.0;
    size_t a;
    for (a = 0; a < n; a++)
        if (y[a] + (z ? z[a] : 0.0) > m) m = y[a] + (z ? z[a] : 0.0);
    for (a = 0; a < n; a++) {
        const double e = exp(scale * (y[a] + (z ? z[a] : 0.0) - m));
        if (pi) pi[a] = e;
        sum += e;
    }
    for (a = 0; pi && a < n; a++) pi[a] /= sum;
    return m + log(sum) / scale;
}

/* alpha' h + beta f = beta (f + c_kl h), since alpha' = c_kl beta. */
BPRIOR_API bp_status bp_distral_two_column(double *pi, double *prior, const double *h, const double *f,
                                           const bp_distral_tasks *tasks, double c_kl, double c_ent,
                                           bp_error *error) {
    bp_status status = bpi_distral_check(tasks, error);
    size_t w, s, a, S, A;
    if (status == BP_OK) status = bpi_check_prices(c_kl, c_ent, true, error);
    if (status != BP_OK) return status;
    S = tasks->mdp[0].S;
    A = tasks->mdp[0].A;
    bp_mdp_softmax(prior, h, bp_distral_classes(tasks), A);
    for (w = 0; w < tasks->n; w++)
        for (s = 0; s < S; s++) {
            double *row = pi + (w * S + s) * A;
            for (a = 0; a < A; a++) row[a] = f[(w * S + s) * A + a] + c_kl * h[bpi_class(tasks->phi, s) * A + a];
            (void)bpi_soft_row(row, row, NULL, 1.0 / (c_kl + c_ent), A);
        }
    return bpi_ok(error);
}

/* Derivation. For fixed pi0, the view above makes L a sum over tasks of E4's, and chapter 11 has derived
 *
 *     dL/dlogit_w(s,a) = p(w) d_w(s) pi_w(a|s) [ Q(s,a) - tau log(pi_w(a|s)/rho(a|s)) - V(s) ]
 *
 * with Q and V those of the view. With Q = r + tau log Z + gamma E V' and tau log rho = c_kl log pi0 - tau log Z, the bracket's
 * first two terms are
 *
 *     G(s,a) = r + gamma E V' + c_kl log pi0 - tau log pi        (R_reg = R + (alpha'/beta) log pi0 - (1/beta) log pi)
 *
 * the expected regularised return of the score-function gradient, and V is its mean. logit_w = alpha' h + beta f_w gives the
 * factors alpha' and beta. What is left is pi0 itself: dL/dlog pi0(a|c) = c_kl sum_w p(w) sum_{s in c} d_w(s) pi_w(a|s), and
 * log-softmax pulls g back to g(a) - pi0(a) sum_b g(b). */
BPRIOR_API bp_status bp_distral_backward(double *dh, double *df, double dL, const bp_distral_tasks *tasks,
                                         const double *pi, const double *prior, double c_kl, double c_ent,
                                         bp_error *error) {
    const double tau = c_kl + c_ent;
    bp_status status = bpi_distral_check(tasks, error);
    size_t w, s, a;
    for (w = 0; status == BP_OK && w < tasks->n; w++) {
        const bp_mdp *m = &tasks->mdp[w];
        const double *policy = pi + w * m->S * m->A, *rho, p = bpi_task_weight(tasks, w);
        double *V = bpi_mdp_vector(m, 1), *d = bpi_mdp_vector(m, 2), *Q = bpi_mdp_table(m, 0);
        bp_mdp view;
        status = bpi_distral_view(&view, &rho, m, prior, tasks->phi, c_kl, c_ent, error);
        if (status == BP_OK) status = bp_mdp_soft_evaluate(V, Q, &view, policy, rho, tau, error);
        if (status == BP_OK) status = bp_mdp_visitation(d, m, policy, error);
        if (status != BP_OK) return bpi_in_task(status, w, error);
        for (s = 0; s < m->S; s++)
            for (a = 0; a < m->A && d[s] > 0.0; a++) {
                const size_t i = s * m->A + a, c = bpi_class(tasks->phi, s) * m->A + a;
                const double log_ratio = policy[i] > 0.0 ? log(policy[i] / rho[i]) : 0.0;
                const double g = dL * p * d[s] * policy[i] * (Q[i] - tau * log_ratio - V[s]);
                /* in the forward pass this was:  logit = beta f + alpha' h */
                if (df) df[w * m->S * m->A + i] += g / tau;
                /* and  - c_kl sum_a pi (log pi - log pi0),  pi0 = softmax(h) */
                if (dh) dh[c] += c_kl / tau * g + dL * p * d[s] * c_kl * (policy[i] - prior[c]);
            }
    }
    return status;
}

/* ---- learning from samples ------------------------------------------------ */

BPRIOR_API bp_distral_config bp_distral_config_make(uint32_t cookie) {
    bp_distral_config c;
    memset(&c, 0, sizeof c);
    c.cookie = cookie;
    if (cookie != BP_COOKIE(bp_distral_config)) return c;
    c.c_kl = 0.2;
    c.c_ent = 0.0;
    c.rate = 0.1;
    c.pseudo_count = 1.0;
    c.keep = 1.0;
    c.rollout = 10;
    c.learn_prior = true;
    return c;
}

BPI_FN bp_status bpi_distral_config_check(const bp_distral_config *c, bp_error *error) {
    bp_status status = bpi_check_cookie(c->cookie, BP_COOKIE(bp_distral_config), "bp_distral_config", error);
    if (status == BP_OK) status = bpi_check_prices(c->c_kl, c->c_ent, true, error);
    if (status != BP_OK) return status;
    if (!(c->rate > 0.0 && c->rate <= 1.0)) return bpi_fail(error, BP_ERR_ARGUMENT, "rate is %g, not in (0,1]", c->rate);
    if (!(c->pseudo_count > 0.0 && bpi_finite_d(c->pseudo_count)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "pseudo_count is %g; it must be positive and finite", c->pseudo_count);
    if (!(c->keep >= 0.0 && c->keep <= 1.0)) return bpi_fail(error, BP_ERR_ARGUMENT, "keep is %g, not in [0,1]", c->keep);
    if (c->rollout == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "rollout is 0; it must be at least 1");
    return BP_OK;
}

/* Run once to measure, once to place (see bp_arena). */
BPI_FN bp_distral_learner *bpi_distral_layout(bp_arena *arena, const bp_distral_tasks *tasks, bp_distral_learner *at) {
    const size_t A = tasks->mdp[0].A, C = bp_distral_classes(tasks);
    bp_distral_learner *self = (bp_distral_learner *)bp_arena_take(arena, 1, sizeof(bp_distral_learner));
    size_t wsa = 0, ca = 0;
    if (!bp_size_mul(&wsa, tasks->n, tasks->mdp[0].S) || !bp_size_mul(&wsa, wsa, A) || !bp_size_mul(&ca, C, A))
        arena->overflow = true;
    at->Q = (double *)bp_arena_take(arena, wsa, sizeof(double));
    at->count = (double *)bp_arena_take(arena, ca, sizeof(double));
    at->prior = (double *)bp_arena_take(arena, ca, sizeof(double));
    at->bias = (double *)bp_arena_take(arena, ca, sizeof(double));
    at->row = (double *)bp_arena_take(arena, A, sizeof(double));
    return self;
}

BPRIOR_API bp_status bp_distral_learner_size(const bp_distral_tasks *tasks, const bp_distral_config *config,
                                             size_t *bytes, bp_error *error) {
    const bp_distral_config c = config ? *config : bp_distral_config_default();
    bp_arena arena = bp_arena_make(NULL, 0);
    bp_distral_learner at;
    bp_status status = bpi_distral_config_check(&c, error);
    *bytes = 0;
    if (status == BP_OK) status = bp_distral_check(tasks, error);
    if (status != BP_OK) return status;
    (void)bpi_distral_layout(&arena, tasks, &at);
    if (arena.overflow)
        return bpi_fail(error, BP_ERR_SIZE, "tables of %zu tasks, %zu states and %zu actions overflow a size", tasks->n,
                        tasks->mdp[0].S, tasks->mdp[0].A);
    *bytes = arena.used;
    return bpi_ok(error);
}

/* prior = (count + pseudo_count) / sum, the mean of a Dirichlet posterior; bias = c_kl log prior = (alpha'/beta) log prior. */
BPI_FN void bpi_distral_distil(bp_distral_learner *self) {
    const size_t A = self->tasks.mdp[0].A, C = bp_distral_classes(&self->tasks);
    size_t c, a;
    for (c = 0; c < C; c++) {
        double *prior = self->prior + c * A, sum = 0.0;
        for (a = 0; a < A; a++) {
            prior[a] = self->count[c * A + a] + self->config.pseudo_count;
            sum += prior[a];
        }
        for (a = 0; a < A; a++) {
            prior[a] /= sum;
            self->bias[c * A + a] = self->config.c_kl * log(prior[a]);
        }
    }
}

BPRIOR_API bp_status bp_distral_learner_init(bp_distral_learner **out, void *memory, size_t bytes,
                                             const bp_distral_tasks *tasks, const bp_distral_config *config,
                                             bp_error *error) {
    const bp_distral_config c = config ? *config : bp_distral_config_default();
    bp_distral_learner at, *self;
    bp_arena arena;
    size_t need;
    bp_status status;
    *out = NULL;
    status = bp_distral_learner_size(tasks, config, &need, error);
    if (status != BP_OK) return status;
    if (!memory || bytes < need)
        return bpi_fail(error, BP_ERR_SIZE, "a Distral learner needs %zu bytes, got %zu", need, memory ? bytes : (size_t)0);
    memset(&at, 0, sizeof at);
    arena = bp_arena_make(memory, bytes);
    self = bpi_distral_layout(&arena, tasks, &at);
    *self = at;
    self->config = c;
    self->tasks = *tasks;
    bpi_distral_distil(self); /* no counts yet: uniform */
    *out = self;
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_distral_learner_create(bp_distral_learner **out, const bp_distral_tasks *tasks,
                                               const bp_distral_config *config, const bp_allocator *allocator,
                                               bp_error *error) {
    size_t bytes;
    void *memory;
    bp_status status;
    *out = NULL;
    status = bp_distral_learner_size(tasks, config, &bytes, error);
    if (status != BP_OK) return status;
    memory = bp_alloc(allocator, bytes);
    if (!memory) return bpi_fail(error, BP_ERR_MEMORY, "no memory for a Distral learner of %zu bytes", bytes);
    status = bp_distral_learner_init(out, memory, bytes, tasks, config, error);
    if (status != BP_OK) {
        bp_free(allocator, memory, bytes);
        return status;
    }
    bpi_own(&(*out)->owner, allocator, bytes);
    return status;
}

BPRIOR_API void bp_distral_learner_destroy(bp_distral_learner *learner) {
    if (learner) bpi_disown(&learner->owner, learner);
}

/* E13 for a learner:  pi0^alpha' exp(beta Q) = exp(beta (Q + c_kl log pi0)), so V and pi are a softmax of Q + bias. */
BPI_FN double bpi_distral_row(double *pi, const bp_distral_learner *self, size_t w, size_t s) {
    const size_t S = self->tasks.mdp[0].S, A = self->tasks.mdp[0].A;
    return bpi_soft_row(pi, self->Q + (w * S + s) * A, self->bias + bpi_class(self->tasks.phi, s) * A,
                        1.0 / (self->config.c_kl + self->config.c_ent), A);
}

BPRIOR_API void bp_distral_learner_round(bp_distral_learner *learner, bp_rng *rng) {
    const bp_distral_config *c = &learner->config;
    const bp_distral_tasks *tasks = &learner->tasks;
    const size_t S = tasks->mdp[0].S, A = tasks->mdp[0].A, C = bp_distral_classes(tasks);
    size_t w, t, i;
    learner->reward = 0.0;
    for (i = 0; i < C * A; i++) learner->count[i] *= c->keep;
    for (w = 0; w < tasks->n; w++) {
        const bp_mdp *m = &tasks->mdp[w];
        /* every task is played once a round; p(w) decides what its actions count for */
        const double weight = bpi_task_weight(tasks, w) * (double)tasks->n;
        size_t s = bpi_draw(bp_rng_uniform(rng), m->p0, S);
        for (t = 0; t < c->rollout && !m->terminal[s]; t++) {
            double *pi = learner->row, target;
            size_t a, next;
            (void)bpi_distral_row(pi, learner, w, s);
            a = bpi_draw(bp_rng_uniform(rng), pi, A);
            next = bpi_draw(bp_rng_uniform(rng), m->P + (s * A + a) * S, S);
            learner->count[bpi_class(tasks->phi, s) * A + a] += weight;
            /* Q += rate (r + gamma V(s') - Q); the price of the step itself is not in Q, that of the next is in V */
            target = m->R[s * A + a];
            if (!m->terminal[next]) target += m->gamma * bpi_distral_row(NULL, learner, w, next);
            learner->Q[(w * S + s) * A + a] += c->rate * (target - learner->Q[(w * S + s) * A + a]);
            learner->reward += m->R[s * A + a];
            learner->steps++;
            s = next;
        }
    }
    if (c->learn_prior) bpi_distral_distil(learner);
    learner->rounds++;
}

BPRIOR_API void bp_distral_learner_policies(double *pi, const bp_distral_learner *learner) {
    const size_t S = learner->tasks.mdp[0].S, A = learner->tasks.mdp[0].A;
    size_t w, s;
    for (w = 0; w < learner->tasks.n; w++)
        for (s = 0; s < S; s++) (void)bpi_distral_row(pi + (w * S + s) * A, learner, w, s);
}

/* ---- two rooms ------------------------------------------------------------ */

BPRIOR_API bp_tworooms_config bp_tworooms_config_make(uint32_t cookie) {
    bp_tworooms_config c;
    memset(&c, 0, sizeof c);
    c.cookie = cookie;
    if (cookie != BP_COOKIE(bp_tworooms_config)) return c;
    c.map = "#############\n"
            "#...#####...#\n"
            "#...     ...#\n"
            "#...#####...#\n"
            "#############\n";
    c.costs = bp_gridworld_config_default();
    c.tasks = 10;
    c.seed = 1;
    return c;
}

BPRIOR_API void bp_tworooms_destroy(bp_tworooms *rooms) {
    size_t w;
    if (!rooms) return;
    for (w = 0; rooms->mdp && w < rooms->W; w++) bp_mdp_destroy(&rooms->mdp[w]);
    bpi_disown(&rooms->owner, rooms->mdp);
    bp_gridworld_destroy(&rooms->grid);
    memset(rooms, 0, sizeof *rooms);
}

BPRIOR_API size_t bp_tworooms_state(size_t cell, bp_tworooms_memory memory) { return cell * BP_MEMORIES + (size_t)memory; }

/* One task: from (cell, anything remembered) the action decides the next cell and what is remembered of it. */
BPI_FN void bpi_tworooms_fill(bp_mdp *m, const bp_gridworld *g, size_t goal, const bp_gridworld_config *costs) {
    double starts = 0.0;
    size_t cell, a, k;
    for (cell = 0; cell < g->mdp.S; cell++)
        if (cell != goal) starts += g->mdp.p0[cell];
    for (cell = 0; cell < g->mdp.S; cell++) {
        if (cell != goal) m->p0[bp_tworooms_state(cell, BP_MEMORY_START)] = g->mdp.p0[cell] / starts;
        for (a = 0; a < 5; a++) {
            bool bumped;
            const size_t to = bpi_grid_move(g, cell, a, &bumped);
            /* 1 + a after a move, 5 + a after a bump, which staying cannot be */
            const size_t next = to * BP_MEMORIES + (bumped ? 5 : 1) + a;
            const double reward = bumped ? costs->wall_reward : to == goal ? costs->goal_reward
                                                                           : costs->step_reward;
            for (k = 0; k < BP_MEMORIES; k++) {
                const size_t s = cell * BP_MEMORIES + k;
                m->P[(s * 5 + a) * m->S + next] = 1.0;
                m->R[s * 5 + a] = reward;
                m->terminal[s] = cell == goal;
            }
        }
    }
}

/* The cells that the map marks '.', by their number on the grid; returns how many. */
BPI_FN size_t bpi_tworooms_candidates(size_t *cells, const char *map, const bp_gridworld *g) {
    size_t row = 0, col = 0, n = 0, i;
    for (i = 0; map[i]; i++) {
        if (map[i] == '\n') {
            row++;
            col = 0;
            continue;
        }
        if (map[i] == '.') {
            if (cells) cells[n] = bp_gridworld_state(g, row, col);
            n++;
        }
        col++;
    }
    return n;
}

BPRIOR_API bp_status bp_tworooms_create(bp_tworooms *rooms, const bp_tworooms_config *config,
                                        const bp_allocator *allocator, bp_error *error) {
    const bp_tworooms_config c = config ? *config : bp_tworooms_config_default();
    size_t n, w, bytes, goals;
    bp_rng rng;
    bp_status status;
    memset(rooms, 0, sizeof *rooms);
    status = bpi_check_cookie(c.cookie, BP_COOKIE(bp_tworooms_config), "bp_tworooms_config", error);
    if (status != BP_OK) return status;
    if (!c.map || strchr(c.map, 'G'))
        return bpi_fail(error, BP_ERR_ARGUMENT, c.map ? "the map has a 'G', but every task has a goal of its own" : "the map is NULL");
    status = bp_gridworld_create(&rooms->grid, c.map, &c.costs, allocator, error);
    if (status != BP_OK) return status;
    n = bpi_tworooms_candidates(NULL, c.map, &rooms->grid);
    if (c.costs.slip > 0.0 || !c.costs.goal_ends)
        status = bpi_fail(error, BP_ERR_ARGUMENT, "slip is %g and must be 0; goal_ends must be true", c.costs.slip);
    else if (c.tasks == 0 || c.tasks > n)
        status = bpi_fail(error, BP_ERR_ARGUMENT, "%zu tasks, but the map has 1 to %zu goals ('.')", c.tasks, n);
    else if (rooms->grid.mdp.S < 2)
        status = bpi_fail(error, BP_ERR_ARGUMENT, "the map has a goal but no other cell to start in");
    else if (!bp_size_mul(&bytes, c.tasks, sizeof(bp_mdp)) || !bp_size_mul(&goals, n, sizeof(size_t)) ||
             !bp_size_add(&bytes, bytes, goals) || !bp_size_mul(&rooms->S, rooms->grid.mdp.S, BP_MEMORIES))
        status = bpi_fail(error, BP_ERR_SIZE, "%zu tasks do not fit the address space", c.tasks);
    else {
        rooms->mdp = (bp_mdp *)bp_alloc(allocator, bytes);
        if (rooms->mdp) bpi_own(&rooms->owner, allocator, bytes);
        else status = bpi_fail(error, BP_ERR_MEMORY, "no memory for %zu tasks", c.tasks);
    }
    if (status == BP_OK) {
        /* a shuffled list of cells; its first W are the goals */
        rooms->W = c.tasks;
        rooms->goal = (size_t *)(void *)(rooms->mdp + c.tasks);
        rng = bp_rng_make(c.seed, 12);
        (void)bpi_tworooms_candidates(rooms->goal, c.map, &rooms->grid);
        bp_rng_shuffle(rooms->goal, &rng, n);
    }
    for (w = 0; status == BP_OK && w < rooms->W; w++) {
        status = bp_mdp_create(&rooms->mdp[w], rooms->S, 5, c.costs.gamma, allocator, error);
        if (status == BP_OK) bpi_tworooms_fill(&rooms->mdp[w], &rooms->grid, rooms->goal[w], &c.costs);
    }
    if (status != BP_OK) bp_tworooms_destroy(rooms);
    return status == BP_OK ? bpi_ok(error) : status;
}

BPRIOR_API size_t bp_tworooms_classes(size_t *phi, const bp_tworooms *rooms, unsigned sees) {
    /* mixed radix: cell, then 6 previous actions (the first: none), then bumped or not */
    const size_t cells = sees & BP_SEES_CELL ? rooms->grid.mdp.S : 1;
    const size_t actions = sees & BP_SEES_ACTION ? 6 : 1, rewards = sees & BP_SEES_REWARD ? 2 : 1;
    size_t s;
    for (s = 0; s < rooms->S; s++) {
        const size_t memory = s % BP_MEMORIES, bumped = memory >= BP_MEMORY_UP_BUMPED;
        const size_t action = bumped ? memory - (BP_MEMORY_UP_BUMPED - BP_MEMORY_UP) : memory;
        phi[s] = ((cells > 1 ? s / BP_MEMORIES : 0) * actions + (actions > 1 ? action : 0)) * rewards +
                 (rewards > 1 ? bumped : 0);
    }
    return cells * actions * rewards;
}

BPRIOR_API void bp_tworooms_slice(double *pi0, const double *prior, const size_t *phi, const bp_tworooms *rooms,
                                  bp_tworooms_memory memory) {
    size_t cell;
    for (cell = 0; cell < rooms->grid.mdp.S; cell++)
        memcpy(pi0 + cell * 5, prior + phi[bp_tworooms_state(cell, memory)] * 5, 5 * sizeof(double));
}

/* ==========================================================================
 * 13. >>asymmetry-impl   Information asymmetry
 *    provides: bp_field_set_* bp_asymmetric_*  bp_distilled_prior
 *    needs: 1, 9, 10, 11, 12        equations: E14 E17
 * ========================================================================== */

/* "angle, velocity, target": the fields there are, for an error text; cut when it does not fit. */
BPI_FN void bpi_list_fields(char *out, size_t capacity, const bp_spec *spec) {
    size_t i, used = 0;
    out[0] = '\0';
    for (i = 0; i < spec->n_fields && i < BP_MAX_FIELDS; i++) {
        const int wrote = snprintf(out + used, capacity - used, "%s%.*s", i ? ", " : "", BP_NAME,
                                   spec->field[i].name);
        if (wrote < 0) return;
        if ((size_t)wrote >= capacity - used) {
            /* mark the cut, so that nobody takes the list for complete */
            if (capacity >= 4) memcpy(out + capacity - 4, "...", 4);
            return;
        }
        used += (size_t)wrote;
    }
}

BPI_FN void bpi_field_set_add(bp_field_set *set, const bp_spec *spec, size_t index) {
    set->index[set->n] = index;
    set->offset[set->n] = spec->field[index].offset;
    set->length[set->n] = spec->field[index].size;
    set->size += spec->field[index].size;
    set->n++;
}

BPRIOR_API bp_status bp_field_set_make(bp_field_set *set, const bp_spec *spec, const char *const *names, size_t n,
                                       bp_error *error) {
    size_t i, k;
    memset(set, 0, sizeof *set);
    if (!spec || (n > 0 && !names)) return bpi_fail(error, BP_ERR_ARGUMENT, "a field set needs a spec and names");
    for (i = 0; i < n; i++) {
        const bp_field *f;
        if (!names[i]) return bpi_fail(error, BP_ERR_ARGUMENT, "field name %zu of %zu is NULL", i, n);
        if (strcmp(names[i], "*") == 0) {
            if (n != 1) return bpi_fail(error, BP_ERR_ARGUMENT, "\"*\" means all fields; no other name may stand beside it");
            for (k = 0; k < spec->n_fields && k < BP_MAX_FIELDS; k++) bpi_field_set_add(set, spec, k);
            return bpi_ok(error);
        }
        f = bp_spec_find(spec, names[i]);
        if (!f) {
            char known[160];
            memset(set, 0, sizeof *set);
            bpi_list_fields(known, sizeof known, spec);
            return bpi_fail(error, BP_ERR_FIELD, "'%.*s' has no field '%.32s'; it has: %s", BP_NAME, spec->name,
                            names[i], known);
        }
        k = (size_t)(f - spec->field);
        if (bp_field_set_has(set, k)) {
            memset(set, 0, sizeof *set);
            return bpi_fail(error, BP_ERR_ARGUMENT, "field '%s' is named twice", f->name);
        }
        bpi_field_set_add(set, spec, k);
    }
    return bpi_ok(error);
}

BPRIOR_API bool bp_field_set_has(const bp_field_set *set, size_t field_index) {
    size_t k;
    for (k = 0; k < set->n; k++)
        if (set->index[k] == field_index) return true;
    return false;
}

BPRIOR_API void bp_field_gather(bp_real *out, const bp_real *observation, const bp_field_set *set,
                                size_t observation_size, size_t n, const size_t *rows) {
    size_t r, k;
    for (r = 0; r < n; r++) {
        const bp_real *x = observation + (rows ? rows[r] : r) * observation_size;
        for (k = 0; k < set->n; k++) {
            memcpy(out, x + set->offset[k], set->length[k] * sizeof(bp_real));
            out += set->length[k];
        }
    }
}

BPRIOR_API void bp_field_gather_backward(bp_real *dobservation, const bp_real *dout, const bp_field_set *set,
                                         size_t observation_size, size_t n, const size_t *rows) {
    size_t r, k, i;
    for (r = 0; r < n; r++) {
        bp_real *dx = dobservation + (rows ? rows[r] : r) * observation_size;
        for (k = 0; k < set->n; k++) {
            /* in the forward pass this was:  out[i] = x[offset + i] */
            for (i = 0; i < set->length[k]; i++) dx[set->offset[k] + i] += dout[i];
            dout += set->length[k];
        }
    }
}

/* ---- the same on finite MDPs --------------------------------------------- */

BPRIOR_API void bp_asymmetric_expand(double *pi0, const double *prior, const size_t *phi, size_t S, size_t A) {
    size_t s;
    for (s = 0; s < S; s++) memcpy(pi0 + s * A, prior + phi[s] * A, A * sizeof(double));
}

BPRIOR_API bp_status bp_asymmetric_objective(bp_objective *out, const bp_mdp *mdp, const double *pi,
                                             const double *prior, const size_t *phi, size_t C, double alpha,
                                             bp_error *error) {
    double *pi0 = bpi_mdp_table(mdp, 1); /* bp_mdp_objective() uses none of the tables */
    const bp_status s = bpi_check_classes(phi, mdp->S, C, error);
    if (s != BP_OK) return s;
    bp_asymmetric_expand(pi0, prior, phi, mdp->S, mdp->A);
    return bp_mdp_objective(out, mdp, pi, pi0, alpha, error);
}

BPRIOR_API double bp_distillation_loss(const double *prior, const double *d, const double *pi, const size_t *phi,
                                       size_t S, size_t A) {
    return bpi_mixture_loss(prior, d, pi, phi, S, A);
}

BPRIOR_API void bp_distillation_backward(double *dlogits, double dloss, const double *prior, const double *d,
                                         const double *pi, const size_t *phi, size_t S, size_t A) {
    size_t s, a;
    for (s = 0; s < S; s++)
        for (a = 0; a < A; a++) {
            const size_t i = phi[s] * A + a;
            /* in the forward pass this was:  loss += d(s) sum_a pi(a|s) (log pi(a|s) - log prior(a|c)) */
            dlogits[i] += dloss * d[s] * (prior[i] - pi[s * A + a]);
        }
}

/* E11 with a single task (chapter 12 has the derivation). */
BPRIOR_API void bp_distilled_prior(double *prior, const double *d, const double *pi, const size_t *phi, size_t S,
                                   size_t A, size_t C) {
    size_t i;
    for (i = 0; i < C * A; i++) prior[i] = 0.0;
    bpi_mixture_add(prior, 1.0, d, pi, phi, S, A);
    bpi_mixture_normalise(prior, C, A);
}

BPRIOR_API bp_status bp_asymmetric_solve(double *pi, double *prior, double *L, double *pi0, double *d,
                                         const bp_mdp *mdp, const size_t *phi, size_t C, double alpha,
                                         size_t rounds, bp_error *error) {
    double *V = bpi_mdp_vector(mdp, 3);
    bp_status s = bpi_check_classes(phi, mdp->S, C, error);
    size_t k;
    for (k = 0; s == BP_OK && k < rounds; k++) {
        bp_asymmetric_expand(pi0, prior, phi, mdp->S, mdp->A);
        s = bp_mdp_soft_value_iteration(V, NULL, pi, mdp, pi0, alpha, 1e-10, NULL, error);
        if (s == BP_OK) s = bp_mdp_visitation(d, mdp, pi, error);
        if (s != BP_OK) return s;
        bp_distilled_prior(prior, d, pi, phi, mdp->S, mdp->A, C);
        if (L) {
            bp_objective o;
            bp_asymmetric_expand(pi0, prior, phi, mdp->S, mdp->A);
            s = bp_mdp_objective(&o, mdp, pi, pi0, alpha, error);
            L[k] = o.value;
        }
    }
    return s == BP_OK ? bpi_ok(error) : s;
}

/* ==========================================================================
 * 14. >>policies   Policies and priors
 * ========================================================================== */

BPRIOR_API bp_policy_config bp_policy_config_make(uint32_t cookie) {
    bp_policy_config config;
    size_t i;
    memset(&config, 0, sizeof config);
    config.cookie = cookie;
    if (cookie != BP_COOKIE(bp_policy_config)) return config;
    config.n_fields = 1;
    config.fields[0] = "*";
    config.hidden_layers = 2;
    for (i = 0; i < BP_MAX_LAYERS; i++) config.width[i] = 64;
    config.activation = BP_ACT_ELU;
    config.layer_norm = true;
    config.init_scale = 0.333;
    config.head_scale = 1e-4;
    config.init_std = 0.7;
    config.min_std = 0.1;
    config.tanh_mean = true;
    return config;
}

/* What a policy is built from besides its configuration: who it is. */
typedef struct bpi_policy_role {
    bool high;          /* its action is a latent */
    size_t latent_size; /* Z of a level; 0: one level */
    size_t extra;       /* numbers of its second input */
} bpi_policy_role;

BPI_FN bp_status bpi_policy_build(bp_policy *policy, const bp_spec *spec, const bp_policy_config *config,
                                  const bpi_policy_role *role, bp_error *error) {
    bp_mlp_config net;
    size_t i, size;
    bp_status status = bpi_check_cookie(config->cookie, BP_COOKIE(bp_policy_config), "bp_policy_config", error);
    memset(policy, 0, sizeof *policy);
    if (status != BP_OK) return status;
    if (config->n_fields > BP_MAX_FIELDS)
        return bpi_fail(error, BP_ERR_ARGUMENT, "policy: n_fields is %lu, at most %d", (unsigned long)config->n_fields,
                        BP_MAX_FIELDS);
    status = bp_field_set_make(&policy->fields, spec, config->fields, config->n_fields, error);
    if (status != BP_OK) return status;

    policy->observation_size = spec->observation_size;
    policy->latent_size = role->extra;
    policy->action_size = role->high ? role->latent_size : spec->action_size;
    if (!role->high && spec->action_kind == BP_ACTION_DISCRETE) {
        policy->output = BP_OUTPUT_CATEGORICAL;
        policy->n_choices = spec->n_choices;
        policy->dist_size = spec->n_choices;
    } else {
        policy->output = BP_OUTPUT_GAUSSIAN;
        if (!bp_size_mul(&policy->dist_size, 2, policy->action_size))
            return bpi_fail(error, BP_ERR_SIZE, "policy: %lu numbers in a latent overflow a size", (unsigned long)role->latent_size);
        if (!(config->init_std > 0.0) || !(config->min_std >= 0.0) || !bpi_finite_d(config->init_std) ||
            !bpi_finite_d(config->min_std))
            return bpi_fail(error, BP_ERR_ARGUMENT, "policy: init_std %g must be > 0 and min_std %g >= 0",
                            config->init_std, config->min_std);
        policy->head.init_std = config->init_std;
        policy->head.min_std = config->min_std;
        policy->head.tanh_mean = config->tanh_mean;
    }

    net = bp_mlp_config_default(bpi_max_size(policy->fields.size, 1), policy->dist_size);
    net.extra = role->extra;
    net.hidden_layers = config->hidden_layers;
    for (i = 0; i < BP_MAX_LAYERS; i++) net.width[i] = config->width[i];
    net.activation = config->activation;
    net.layer_norm = config->layer_norm;
    net.init_scale = config->init_scale;
    if (config->lstm == 0) {
        net.output_scale = config->head_scale;
        status = bp_mlp_init(&policy->net, &net, error);
        policy->n_params = policy->net.n_params;
        policy->n_views = policy->net.n_views;
        return status;
    }
    policy->head_scale = config->head_scale;
    policy->init_scale = config->init_scale;
    status = bp_rnn_init(&policy->rnn, &net, config->lstm, error);
    if (status != BP_OK) return status;
    if (!bp_size_mul(&size, config->lstm + 1, policy->dist_size) ||
        !bp_size_add(&policy->n_params, policy->rnn.n_params, size))
        return bpi_fail(error, BP_ERR_SIZE, "policy: %lu units times %lu outputs overflow a size", (unsigned long)config->lstm,
                        (unsigned long)policy->dist_size);
    policy->state_size = 2 * config->lstm;
    policy->n_views = policy->rnn.n_views + 2;
    return BP_OK;
}

BPRIOR_API bp_status bp_policy_init(bp_policy *policy, const bp_spec *spec, const bp_policy_config *config,
                                    bp_error *error) {
    const bpi_policy_role alone = {false, 0, 0};
    return bpi_policy_build(policy, spec, config, &alone, error);
}

BPRIOR_API bp_status bp_policy_init_level(bp_policy *policy, const bp_spec *spec, const bp_policy_config *config,
                                          size_t latent_size, bool high, bool autoregressive, bp_error *error) {
    bpi_policy_role role;
    memset(policy, 0, sizeof *policy);
    if (latent_size == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "policy: a level needs a latent_size of at least 1");
    role.high = high;
    role.latent_size = latent_size;
    role.extra = !high || autoregressive ? latent_size : 0;
    return bpi_policy_build(policy, spec, config, &role, error);
}

BPI_FN bool bpi_policy_remembers(const bp_policy *policy) { return policy->state_size > 0; }

BPRIOR_API void bp_policy_init_params(bp_real *params, const bp_policy *policy, bp_rng *rng) {
    const size_t H = policy->state_size / 2;
    bp_real *head;
    size_t i;
    if (!bpi_policy_remembers(policy)) {
        bp_mlp_init_params(params, &policy->net, rng);
        return;
    }
    bp_rnn_init_params(params, &policy->rnn, rng);
    head = params + policy->rnn.n_params;
    bp_init_variance_scaling(head, rng, H, policy->dist_size, policy->init_scale, BP_FAN_OUT);
    for (i = 0; i < H * policy->dist_size; i++) head[i] *= BP_R(policy->head_scale);
    memset(head + H * policy->dist_size, 0, policy->dist_size * sizeof(bp_real));
}

BPRIOR_API void bp_policy_view(bp_view *out, const bp_policy *policy, size_t i) {
    const size_t H = policy->state_size / 2;
    bool bias;
    if (!bpi_policy_remembers(policy)) {
        *out = policy->net.view[i];
        return;
    }
    if (i < policy->rnn.n_views) {
        *out = policy->rnn.view[i];
        return;
    }
    bias = i > policy->rnn.n_views;
    memset(out, 0, sizeof *out);
    memcpy(out->name, bias ? "head/b" : "head/w", sizeof "head/w");
    out->offset = policy->rnn.n_params + (bias ? H * policy->dist_size : 0);
    out->rows = bias ? 1 : H;
    out->cols = policy->dist_size;
}

BPRIOR_API size_t bp_policy_macs(const bp_policy *policy, size_t T, size_t B) {
    if (!bpi_policy_remembers(policy)) return bp_mlp_macs(&policy->net, T * B, 1);
    return bp_rnn_macs(&policy->rnn, T, B) + T * B * (policy->state_size / 2) * policy->dist_size;
}

/* x [n][I]: the fields it sees. A policy that sees nothing gets a constant 1, so that its network is a bias. */
BPI_FN void bpi_policy_gather(bp_real *x, const bp_real *observation, const size_t *rows, const bp_policy *policy, size_t n) {
    size_t i;
    if (policy->fields.size) bp_field_gather(x, observation, &policy->fields, policy->observation_size, n, rows);
    else
        for (i = 0; i < n; i++) x[i] = BP_R(1);
}

/* The network's numbers become a distribution. Logits are taken as they are. */
BPI_FN void bpi_policy_head(bp_real *dist, const bp_real *raw, const bp_policy *policy, size_t n) {
    if (policy->output == BP_OUTPUT_CATEGORICAL) memcpy(dist, raw, n * policy->dist_size * sizeof(bp_real));
    else
        bp_gaussian_head_forward(dist, dist + n * policy->action_size, raw, n, policy->action_size, &policy->head);
}

/* The layers below the head or the LSTM. */
BPI_FN const bp_mlp_config *bpi_policy_torso(const bp_policy *policy) {
    return policy->state_size ? &policy->rnn.torso.config : &policy->net.config;
}

BPI_FN size_t bpi_policy_input(const bp_policy *policy) { return bpi_max_size(policy->fields.size, 1); }

/* ---- running over time ----------------------------------------------------- *
 * Without memory the steps that are skipped are not looked at: what remains is n = (T - skip) B rows. With memory
 * all N = T B rows go through torso and LSTM, since the later ones remember the earlier, and the last n through the head.
 *
 *     saved   x [N][I] | raw [n][D] | h [N][H] | what the network saves | scratch of the network's forward
 *     work    eval: the same without what is saved; backward: draw [n][D] | dh [N][H] | scratch            */

BPRIOR_API size_t bp_policy_unroll_saved_reals(const bp_policy *policy, size_t T, size_t B) {
    const size_t n = T * B;
    const size_t io = n * (bpi_policy_input(policy) + policy->dist_size);
    if (!bpi_policy_remembers(policy)) return io + bp_mlp_saved_reals(&policy->net, n, 1);
    return io + n * (policy->state_size / 2) + bp_rnn_saved_reals(&policy->rnn, T, B) + bp_rnn_work_reals(&policy->rnn, T, B);
}

BPRIOR_API size_t bp_policy_unroll_work_reals(const bp_policy *policy, size_t T, size_t B) {
    const size_t n = T * B;
    const size_t io = n * (bpi_policy_input(policy) + policy->dist_size);
    if (!bpi_policy_remembers(policy)) return io + bp_mlp_work_reals(&policy->net, n, 1);
    return io + n * (policy->state_size / 2) + bp_rnn_work_reals(&policy->rnn, T, B);
}

/* Which rows of the caller's arrays come in: all, or with no memory those that are not skipped. */
typedef struct bpi_unrolled {
    size_t N, n;        /* rows in, rows out */
    size_t first;       /* the first row in */
    const size_t *rows; /* of observation, NULL: first, first + 1, ... of `observation` */
    const bp_real *observation, *latent;
} bpi_unrolled;

BPI_FN bpi_unrolled bpi_unroll_rows(const bp_unroll *in, const bp_policy *policy) {
    bpi_unrolled u;
    u.n = (in->T - in->skip) * in->B;
    u.first = bpi_policy_remembers(policy) ? 0 : in->skip * in->B;
    u.N = in->T * in->B - u.first;
    u.rows = in->rows ? in->rows + u.first : NULL;
    u.observation = in->rows ? in->observation : in->observation + u.first * policy->observation_size;
    u.latent = in->latent && policy->latent_size ? in->latent + u.first * policy->latent_size : NULL;
    return u;
}

BPRIOR_API void bp_policy_unroll_eval(const bp_compute *c, bp_real *dist, bp_real *state_out, bp_real *work, const bp_unroll *in,
                                      const bp_real *params, const bp_policy *policy) {
    const bpi_unrolled u = bpi_unroll_rows(in, policy);
    const size_t H = policy->state_size / 2, D = policy->dist_size;
    bp_real *x = work, *raw = x + u.N * bpi_policy_input(policy), *rest = raw + u.n * D;
    bpi_policy_gather(x, u.observation, u.rows, policy, u.N);
    if (!bpi_policy_remembers(policy)) bp_mlp_eval(c, raw, rest, x, u.latent, params, &policy->net, u.n, 1);
    else {
        bp_real *h = rest;
        const bp_real *head = params + policy->rnn.n_params;
        bp_rnn_eval(c, h, state_out, h + u.N * H, x, u.latent, in->state, in->reset, params, &policy->rnn, in->T, in->B);
        bp_linear_eval(c, raw, h + (u.N - u.n) * H, head, head + H * D, u.n, H, D, BP_ACT_NONE);
    }
    bpi_policy_head(dist, raw, policy, u.n);
}

BPRIOR_API void bp_policy_unroll_forward(const bp_compute *c, bp_real *dist, bp_real *saved, const bp_unroll *in,
                                         const bp_real *params, const bp_policy *policy) {
    const bpi_unrolled u = bpi_unroll_rows(in, policy);
    const size_t H = policy->state_size / 2, D = policy->dist_size;
    bp_real *x = saved, *raw = x + u.N * bpi_policy_input(policy), *rest = raw + u.n * D;
    bpi_policy_gather(x, u.observation, u.rows, policy, u.N);
    if (!bpi_policy_remembers(policy)) bp_mlp_forward(c, raw, rest, x, u.latent, params, &policy->net, u.n, 1);
    else {
        bp_real *h = rest, *net_saved = h + u.N * H;
        const bp_real *head = params + policy->rnn.n_params;
        bp_rnn_forward(c, h, net_saved, net_saved + bp_rnn_saved_reals(&policy->rnn, in->T, in->B), x, u.latent, in->state,
                       in->reset, params, &policy->rnn, in->T, in->B);
        bp_linear_forward(c, raw, h + (u.N - u.n) * H, head, head + H * D, u.n, H, D, BP_ACT_NONE);
    }
    bpi_policy_head(dist, raw, policy, u.n);
}

BPRIOR_API void bp_policy_unroll_backward(const bp_compute *c, bp_real *dparams, bp_real *dlatent, const bp_real *saved,
                                          bp_real *work, const bp_real *ddist, const bp_real *dist, const bp_unroll *in,
                                          const bp_real *params, const bp_policy *policy) {
    const bpi_unrolled u = bpi_unroll_rows(in, policy);
    const size_t H = policy->state_size / 2, D = policy->dist_size;
    const bp_real *x = saved, *raw = x + u.N * bpi_policy_input(policy), *rest = raw + u.n * D;
    bp_real *draw = work, *scratch = draw + u.n * D;
    bp_real *dz = dlatent && policy->latent_size ? dlatent + u.first * policy->latent_size : NULL;
    if (policy->output == BP_OUTPUT_CATEGORICAL) memcpy(draw, ddist, u.n * D * sizeof(bp_real));
    else {
        const size_t half = u.n * policy->action_size;
        memset(draw, 0, u.n * D * sizeof(bp_real));
        bp_gaussian_head_backward(draw, ddist, ddist + half, dist, dist + half, raw, u.n, policy->action_size,
                                  &policy->head);
    }
    if (!bpi_policy_remembers(policy)) {
        if (dparams)
            bp_mlp_backward(c, dparams, NULL, dz, rest, scratch, draw, x, u.latent, params, &policy->net, u.n, 1);
        else bp_mlp_backward_input(c, NULL, dz, rest, scratch, draw, x, u.latent, params, &policy->net, u.n, 1);
    } else {
        const size_t skipped = (u.N - u.n) * H;
        const bp_real *h = rest, *net_saved = h + u.N * H, *head = params + policy->rnn.n_params;
        bp_real *dh = scratch, *dhead = dparams ? dparams + policy->rnn.n_params : NULL;
        memset(dh, 0, u.N * H * sizeof(bp_real));
        bp_linear_backward(c, dh + skipped, dhead, dhead ? dhead + H * D : NULL, draw, h + skipped, head, u.n, H, D);
        bp_rnn_backward(c, dparams, NULL, dz, net_saved, dh + u.N * H, dh, x, u.latent, in->reset, params, &policy->rnn,
                        in->detach, in->T, in->B);
    }
}

/* ---- rows that have nothing to do with each other ---------------------------- */

BPI_FN bp_unroll bpi_unroll_of_rows(const bp_real *observation, const size_t *rows, size_t n) {
    bp_unroll in;
    memset(&in, 0, sizeof in);
    in.T = 1;
    in.B = n;
    in.observation = observation;
    in.rows = rows;
    return in;
}

BPRIOR_API size_t bp_policy_saved_reals(const bp_policy *policy, size_t n) {
    return bp_policy_unroll_saved_reals(policy, 1, n);
}

BPRIOR_API size_t bp_policy_work_reals(const bp_policy *policy, size_t n) {
    return bp_policy_unroll_work_reals(policy, 1, n);
}

BPRIOR_API void bp_policy_eval(const bp_compute *c, bp_real *dist, bp_real *work, const bp_real *observation,
                               const size_t *rows, const bp_real *params, const bp_policy *policy, size_t n) {
    const bp_unroll in = bpi_unroll_of_rows(observation, rows, n);
    bp_policy_unroll_eval(c, dist, NULL, work, &in, params, policy);
}

BPRIOR_API void bp_policy_forward(const bp_compute *c, bp_real *dist, bp_real *saved, const bp_real *observation,
                                  const size_t *rows, const bp_real *params, const bp_policy *policy, size_t n) {
    const bp_unroll in = bpi_unroll_of_rows(observation, rows, n);
    bp_policy_unroll_forward(c, dist, saved, &in, params, policy);
}

BPRIOR_API void bp_policy_backward(const bp_compute *c, bp_real *dparams, const bp_real *saved, bp_real *work,
                                   const bp_real *ddist, const bp_real *dist, const bp_real *params,
                                   const bp_policy *policy, size_t n) {
    const bp_unroll in = bpi_unroll_of_rows(NULL, NULL, n);
    bp_policy_unroll_backward(c, dparams, NULL, saved, work, ddist, dist, &in, params, policy);
}

/* A categorical action is its index, stored as a number; anything outside 0..K-1 becomes the nearest choice. */
BPI_FN size_t bpi_choice(bp_real action, size_t n_choices) {
    if (!(action > BP_R(0))) return 0;
    return action >= BP_R(n_choices) ? n_choices - 1 : (size_t)action;
}

/* ---- what one can do with a batch of distributions ---------------------- *
 * Each function is one loop over rows of the row functions of chapter 5. In a Gaussian batch row i's mean is
 * dist + i A and its standard deviation is dist + (n + i) A; in a categorical one its logits are dist + i K. */

BPRIOR_API void bp_policy_sample(bp_real *action, bp_real *log_prob, bp_rng *rng, const bp_real *dist,
                                 const bp_policy *policy, size_t n) {
    const size_t A = policy->action_size, K = policy->n_choices;
    size_t i;
    if (policy->output == BP_OUTPUT_CATEGORICAL) {
        for (i = 0; i < n; i++) action[i] = BP_R(bp_categorical_sample(rng, dist + i * K, K));
    } else {
        const bp_real *mean = dist, *std = dist + n * A;
        bp_rng_normals(action, rng, n * A);
        for (i = 0; i < n * A; i++) action[i] = mean[i] + std[i] * action[i];
    }
    if (log_prob) bp_policy_log_prob(log_prob, action, dist, policy, n);
}

BPRIOR_API void bp_policy_mode(bp_real *action, const bp_real *dist, const bp_policy *policy, size_t n) {
    const size_t K = policy->n_choices;
    size_t i, k;
    if (policy->output == BP_OUTPUT_GAUSSIAN) {
        memcpy(action, dist, n * policy->action_size * sizeof(bp_real));
        return;
    }
    for (i = 0; i < n; i++) {
        size_t best = 0;
        for (k = 1; k < K; k++)
            if (dist[i * K + k] > dist[i * K + best]) best = k;
        action[i] = BP_R(best);
    }
}

BPRIOR_API void bp_policy_log_prob(bp_real *log_prob, const bp_real *action, const bp_real *dist,
                                   const bp_policy *policy, size_t n) {
    const size_t A = policy->action_size, K = policy->n_choices;
    size_t i;
    for (i = 0; i < n; i++) {
        if (policy->output == BP_OUTPUT_CATEGORICAL)
            log_prob[i] = bp_categorical_log_prob(dist + i * K, bpi_choice(action[i], K), K);
        else log_prob[i] = bp_gaussian_log_prob(action + i * A, dist + i * A, dist + (n + i) * A, A);
    }
}

BPRIOR_API void bp_policy_entropy(bp_real *entropy, const bp_real *dist, const bp_policy *policy, size_t n) {
    const size_t A = policy->action_size, K = policy->n_choices;
    size_t i;
    for (i = 0; i < n; i++) {
        if (policy->output == BP_OUTPUT_CATEGORICAL) entropy[i] = bp_categorical_entropy(dist + i * K, K);
        else entropy[i] = bp_gaussian_entropy(dist + (n + i) * A, A);
    }
}

BPRIOR_API void bp_policy_entropy_backward(bp_real *ddist, const bp_real *dentropy, const bp_real *dist,
                                           const bp_policy *policy, size_t n) {
    const size_t A = policy->action_size, K = policy->n_choices;
    size_t i;
    for (i = 0; i < n; i++) {
        if (policy->output == BP_OUTPUT_CATEGORICAL)
            bp_categorical_entropy_backward(ddist + i * K, dentropy[i], dist + i * K, K);
        else bp_gaussian_entropy_backward(ddist + (n + i) * A, dentropy[i], dist + (n + i) * A, A);
    }
}

BPRIOR_API void bp_policy_kl(bp_real *kl, const bp_real *dist, const bp_real *dist0, const bp_policy *policy,
                             size_t n) {
    const size_t A = policy->action_size, K = policy->n_choices;
    size_t i;
    for (i = 0; i < n; i++) {
        if (policy->output == BP_OUTPUT_CATEGORICAL) kl[i] = bp_categorical_kl(dist + i * K, dist0 + i * K, K);
        else
            kl[i] = bp_gaussian_kl(dist + i * A, dist + (n + i) * A, dist0 + i * A, dist0 + (n + i) * A, A);
    }
}

BPRIOR_API void bp_policy_kl_backward(bp_real *ddist, bp_real *ddist0, const bp_real *dkl, const bp_real *dist,
                                      const bp_real *dist0, const bp_policy *policy, size_t n) {
    const size_t A = policy->action_size, K = policy->n_choices;
    size_t i;
    for (i = 0; i < n; i++) {
        if (policy->output == BP_OUTPUT_CATEGORICAL)
            bp_categorical_kl_backward(ddist ? ddist + i * K : NULL, ddist0 ? ddist0 + i * K : NULL, dkl[i],
                                       dist + i * K, dist0 + i * K, K);
        else
            bp_gaussian_kl_backward(ddist ? ddist + i * A : NULL, ddist ? ddist + (n + i) * A : NULL,
                                    ddist0 ? ddist0 + i * A : NULL, ddist0 ? ddist0 + (n + i) * A : NULL, dkl[i],
                                    dist + i * A, dist + (n + i) * A, dist0 + i * A, dist0 + (n + i) * A, A);
    }
}

BPRIOR_API void bp_policy_isotropic(bp_real *dist0, double std, const bp_policy *policy, size_t n) {
    const size_t half = n * policy->action_size;
    size_t i;
    memset(dist0, 0, n * policy->dist_size * sizeof(bp_real));
    if (policy->output == BP_OUTPUT_GAUSSIAN)
        for (i = 0; i < half; i++) dist0[half + i] = BP_R(std);
}

/* ---- one level or two ------------------------------------------------------ */

BPRIOR_API bp_latent_config bp_latent_config_make(uint32_t cookie, size_t size) {
    bp_latent_config config;
    memset(&config, 0, sizeof config);
    config.cookie = cookie;
    if (cookie != BP_COOKIE(bp_latent_config)) return config;
    config.size = size;
    config.high = bp_policy_config_default();
    config.high.tanh_mean = false; /* a latent has no box */
    config.high.init_std = 0.9;    /* + min_std .1: N(0, I) at the start */
    config.high_prior = config.high;
    config.prior_kind = BP_HIGH_LEARNED;
    config.phi = 0.95;
    config.hold = 1;
    config.shared_low = true;
    config.critic_sees_latent = true;
    return config;
}

BPI_FN bool bpi_high_has_net(bp_high_kind kind) { return kind == BP_HIGH_LEARNED || kind == BP_HIGH_AUTOREGRESSIVE; }

/* State of a high level's own memory. */
BPI_FN size_t bpi_behavior_high_state(const bp_behavior *b) {
    return b->latent.size && bpi_high_has_net(b->high_kind) ? b->high->state_size : 0;
}

BPRIOR_API size_t bp_behavior_state_size(const bp_behavior *b) {
    return bpi_behavior_high_state(b) + b->policy->state_size + (b->latent.size ? b->latent.size + 1 : 0);
}

BPRIOR_API size_t bp_behavior_work_reals(const bp_behavior *b) {
    size_t work = bp_policy_unroll_work_reals(b->policy, 1, 1);
    if (b->latent.size && bpi_high_has_net(b->high_kind))
        work = bpi_max_size(work, bp_policy_unroll_work_reals(b->high, 1, 1));
    return work + 2 * b->latent.size;
}

BPRIOR_API bool bp_latent_due(const bp_latent *latent, double age) {
    return age < 1.0 || (latent->hold > 0 && age >= (double)latent->hold);
}

/* dist [2][n][Z] of an AR(1) high level (E29), previous [n][Z], first [n] nonzero: there is no previous one.
 * If z_{t-1} ~ N(0, 1) then z_t = phi z_{t-1} + sqrt(1 - phi^2) noise has variance phi^2 + 1 - phi^2 = 1. */
BPI_FN void bpi_latent_ar1(bp_real *dist, double phi, const bp_real *previous, const bp_real *first, size_t n, size_t Z) {
    const bp_real std = BP_R(sqrt(1.0 - phi * phi));
    size_t i, k;
    for (i = 0; i < n; i++) {
        const bool fresh = !first || !(first[i] == BP_R(0));
        for (k = 0; k < Z; k++) {
            dist[i * Z + k] = fresh ? BP_R(0) : BP_R(phi) * previous[i * Z + k];
            dist[(n + i) * Z + k] = fresh ? BP_R(1) : std;
        }
    }
}

/* dist [2][n][Z] = N(0, 1) everywhere */
BPI_FN void bpi_latent_isotropic(bp_real *dist, size_t n, size_t Z) {
    size_t i;
    memset(dist, 0, n * Z * sizeof(bp_real));
    for (i = 0; i < n * Z; i++) dist[n * Z + i] = BP_R(1);
}

BPRIOR_API void bp_behavior_act(const bp_compute *c, bp_real *action, bp_real *log_prob, bp_real *log_latent, bp_real *dist,
                                bp_real *state, bp_real *work, bp_rng *rng, const bp_real *observation, const bp_behavior *b) {
    const size_t Z = b->latent.size, high_state = bpi_behavior_high_state(b);
    bp_real *low_state = state + high_state, *z = low_state + b->policy->state_size;
    bp_unroll in = bpi_unroll_of_rows(observation, NULL, 1);
    if (log_latent) *log_latent = BP_R(0);
    if (Z) {
        bp_real *age = z + Z, *high = work, *rest = work + 2 * Z;
        const bp_real first = *age < BP_R(1) ? BP_R(1) : BP_R(0);
        switch (b->high_kind) {
        case BP_HIGH_ISOTROPIC: bpi_latent_isotropic(high, 1, Z); break;
        case BP_HIGH_AR1: bpi_latent_ar1(high, b->latent.phi, z, &first, 1, Z); break;
        case BP_HIGH_LEARNED:
        case BP_HIGH_AUTOREGRESSIVE: /* its memory advances in every step, drawn or not; z is zeros at the start */
            in.state = state;
            in.latent = z;
            bp_policy_unroll_eval(c, high, high_state ? state : NULL, rest, &in, b->high_params, b->high);
            break;
        }
        if (bp_latent_due(&b->latent, (double)*age)) {
            size_t k;
            if (rng) bp_rng_normals(z, rng, Z);
            else memset(z, 0, Z * sizeof(bp_real));
            for (k = 0; k < Z; k++) z[k] = high[k] + high[Z + k] * z[k];
            if (log_latent) *log_latent = bp_gaussian_log_prob(z, high, high + Z, Z);
            *age = BP_R(0);
        }
        *age += BP_R(1);
    }
    in.state = low_state;
    in.latent = Z ? z : NULL;
    bp_policy_unroll_eval(c, dist, b->policy->state_size ? low_state : NULL, work, &in, b->params, b->policy);
    if (rng) bp_policy_sample(action, log_prob, rng, dist, b->policy, 1);
    else {
        bp_policy_mode(action, dist, b->policy, 1);
        if (log_prob) bp_policy_log_prob(log_prob, action, dist, b->policy, 1);
    }
}

/* ==========================================================================
 * 16. >>replay   Replay of sequences
 * ========================================================================== */

BPRIOR_API bp_replay_config bp_replay_config_make(uint32_t cookie, const bp_spec *spec) {
    bp_replay_config config;
    memset(&config, 0, sizeof config);
    config.cookie = cookie;
    if (cookie != BP_COOKIE(bp_replay_config)) return config;
    config.capacity = 1000;
    config.length = 10;
    config.observation_size = spec ? spec->observation_size : 0;
    config.action_size = spec ? spec->action_size : 0;
    return config;
}

BPRIOR_API size_t bp_sequence_reals(const bp_replay_config *config) {
    return (config->length + 1) * config->observation_size + config->length * (config->action_size + 4 + config->latent_size) +
           config->state_size;
}

BPRIOR_API void bp_sequence_init(bp_sequence *s, bp_real *data, const bp_replay_config *config) {
    const size_t T = config->length, O = config->observation_size, A = config->action_size;
    memset(s, 0, sizeof *s);
    s->length = T;
    s->observation_size = O;
    s->action_size = A;
    s->bytes = bp_sequence_reals(config) * sizeof(bp_real);
    s->data = data;
    s->observation = data;
    s->action = s->observation + (T + 1) * O;
    s->reward = s->action + T * A;
    s->discount = s->reward + T;
    s->log_mu = s->discount + T;
    s->mask = s->log_mu + T;
    s->latent_size = config->latent_size;
    s->state_size = config->state_size;
    s->latent = s->mask + T;
    s->state = s->latent + T * config->latent_size;
    memset(data, 0, s->bytes);
}

BPRIOR_API void bp_sequence_begin(bp_sequence *s, const bp_real *observation) {
    s->filled = 0;
    memcpy(s->observation, observation, s->observation_size * sizeof(bp_real));
}

/* Both kinds of row end by putting down the observation that the next row starts from. */
BPI_FN void bpi_sequence_row(bp_sequence *s, const bp_real *action, bp_real log_mu, bp_real reward, bp_real discount,
                             bp_real mask, const bp_real *next_observation) {
    const size_t t = s->filled, O = s->observation_size, A = s->action_size;
    if (t >= s->length) return; /* a full sequence stays as it is: inserting it comes first */
    if (action) memcpy(s->action + t * A, action, A * sizeof(bp_real));
    else {
        memset(s->action + t * A, 0, A * sizeof(bp_real));
        if (s->latent_size) memset(s->latent + t * s->latent_size, 0, s->latent_size * sizeof(bp_real));
    }
    s->log_mu[t] = log_mu;
    s->reward[t] = reward;
    s->discount[t] = discount;
    s->mask[t] = mask;
    memcpy(s->observation + (t + 1) * O, next_observation, O * sizeof(bp_real));
    s->filled = t + 1;
}

BPRIOR_API void bp_sequence_add(bp_sequence *s, const bp_real *action, bp_real log_mu, bp_real reward,
                                bp_real discount, const bp_real *next_observation) {
    bpi_sequence_row(s, action, log_mu, reward, discount, BP_R(1), next_observation);
}

BPRIOR_API void bp_sequence_boundary(bp_sequence *s, const bp_real *reset_observation) {
    bpi_sequence_row(s, NULL, BP_R(0), BP_R(0), BP_R(0), BP_R(0), reset_observation);
}

BPRIOR_API bool bp_sequence_full(const bp_sequence *s) {
    return s->filled == s->length;
}

BPRIOR_API void bp_sequence_carry(bp_sequence *s) {
    memmove(s->observation, s->observation + s->filled * s->observation_size, s->observation_size * sizeof(bp_real));
    s->filled = 0;
}

/* ---- the ring ---------------------------------------------------------- */

BPI_FN bp_status bpi_replay_check(const bp_replay_config *config, bp_error *error) {
    bp_status status = bpi_check_cookie(config->cookie, BP_COOKIE(bp_replay_config), "bp_replay_config", error);
    if (status != BP_OK) return status;
    if (config->capacity == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "replay: capacity is 0, must be at least 1");
    if (config->length == 0) return bpi_fail(error, BP_ERR_ARGUMENT, "replay: length is 0, must be at least 1");
    if (config->observation_size == 0 || config->action_size == 0)
        return bpi_fail(error, BP_ERR_ARGUMENT, "replay: observation_size and action_size must be at least 1");
    return BP_OK;
}

/* Numbers per sequence, checked: the public bp_sequence_reals() trusts sizes that passed here. */
BPI_FN bool bpi_replay_stride(size_t *stride, const bp_replay_config *config) {
    size_t observations, rows;
    return bp_size_add(&rows, config->length, 1) && bp_size_mul(&observations, rows, config->observation_size) &&
           bp_size_add(&rows, config->action_size, 4) && bp_size_add(&rows, rows, config->latent_size) &&
           bp_size_mul(&rows, rows, config->length) && bp_size_add(&rows, rows, config->state_size) &&
           bp_size_add(stride, observations, rows);
}

/* Run once to measure, once to place (see bp_arena). */
BPI_FN bp_replay *bpi_replay_layout(bp_arena *arena, const bp_replay_config *config, size_t stride, bp_real **data) {
    bp_replay *self = (bp_replay *)bp_arena_take(arena, 1, sizeof(bp_replay));
    size_t reals;
    *data = NULL;
    if (!bp_size_mul(&reals, config->capacity, stride)) arena->overflow = true;
    else *data = bp_arena_real(arena, reals);
    return self;
}

BPRIOR_API bp_status bp_replay_size(const bp_replay_config *config, size_t *bytes, bp_error *error) {
    bp_arena arena = bp_arena_make(NULL, 0);
    bp_real *data;
    size_t stride;
    bp_status status = bpi_replay_check(config, error);
    *bytes = 0;
    if (status != BP_OK) return status;
    if (!bpi_replay_stride(&stride, config)) return bpi_fail(error, BP_ERR_SIZE, "replay: sizes overflow");
    (void)bpi_replay_layout(&arena, config, stride, &data);
    if (arena.overflow)
        return bpi_fail(error, BP_ERR_SIZE, "replay: %lu sequences of %lu numbers overflow a size",
                        (unsigned long)config->capacity, (unsigned long)stride);
    *bytes = arena.used;
    return BP_OK;
}

BPRIOR_API size_t bp_replay_capacity_for(const bp_replay_config *config, size_t bytes) {
    bp_replay_config probe = *config;
    size_t need, low = 0, high = bytes / sizeof(bp_real) + 1; /* low fits, high does not */
    while (high - low > 1) {
        probe.capacity = low + (high - low) / 2;
        if (bp_replay_size(&probe, &need, NULL) == BP_OK && need <= bytes) low = probe.capacity;
        else high = probe.capacity;
    }
    return low;
}

BPRIOR_API bp_status bp_replay_init(bp_replay **out, void *memory, size_t bytes, const bp_replay_config *config,
                                    bp_error *error) {
    size_t need, stride;
    bp_arena arena;
    bp_real *data;
    bp_replay *self;
    bp_status status;
    *out = NULL;
    status = bp_replay_size(config, &need, error);
    if (status != BP_OK) return status;
    if (memory == NULL || bytes < need)
        return bpi_fail(error, BP_ERR_SIZE, "replay: %lu bytes given, %lu needed", (unsigned long)bytes,
                        (unsigned long)need);
    (void)bpi_replay_stride(&stride, config);
    arena = bp_arena_make(memory, bytes);
    self = bpi_replay_layout(&arena, config, stride, &data);
    self->config = *config;
    self->stride = stride;
    self->data = data;
    *out = self;
    return BP_OK;
}

BPRIOR_API bp_status bp_replay_create(bp_replay **out, const bp_replay_config *config, const bp_allocator *allocator,
                                      bp_error *error) {
    size_t bytes;
    void *memory;
    bp_status status;
    *out = NULL;
    status = bp_replay_size(config, &bytes, error);
    if (status != BP_OK) return status;
    memory = bp_alloc(allocator, bytes);
    if (memory == NULL)
        return bpi_fail(error, BP_ERR_MEMORY, "replay: no memory for %lu bytes (%lu sequences)",
                        (unsigned long)bytes, (unsigned long)config->capacity);
    status = bp_replay_init(out, memory, bytes, config, error);
    if (status != BP_OK) {
        bp_free(allocator, memory, bytes);
        return status;
    }
    bpi_own(&(*out)->owner, allocator, bytes);
    return BP_OK;
}

BPRIOR_API void bp_replay_destroy(bp_replay *replay) {
    if (replay) bpi_disown(&replay->owner, replay);
}

BPRIOR_API bp_status bp_replay_insert(bp_replay *replay, const bp_sequence *s, bp_error *error) {
    if (s->length != replay->config.length || s->observation_size != replay->config.observation_size ||
        s->action_size != replay->config.action_size || s->latent_size != replay->config.latent_size ||
        s->state_size != replay->config.state_size)
        return bpi_fail(error, BP_ERR_SIZE, "replay: sequence of another shape");
    if (!bp_sequence_full(s))
        return bpi_fail(error, BP_ERR_SIZE, "replay: sequence has %lu of %lu rows", (unsigned long)s->filled,
                        (unsigned long)s->length);
    memcpy(replay->data + replay->next * replay->stride, s->data, s->bytes);
    replay->next = (replay->next + 1) % replay->config.capacity;
    if (replay->count < replay->config.capacity) replay->count++;
    replay->inserted++;
    return BP_OK;
}

/* ---- minibatches ------------------------------------------------------- */

BPRIOR_API size_t bp_batch_reals(const bp_replay_config *config, size_t batch_size) {
    return batch_size * bp_sequence_reals(config);
}

BPRIOR_API void bp_batch_init(bp_batch *batch, bp_real *data, const bp_replay_config *config, size_t batch_size) {
    const size_t rows = config->length * batch_size, action_size = config->action_size;
    batch->length = config->length;
    batch->batch = batch_size;
    batch->observation_size = config->observation_size;
    batch->action_size = action_size;
    batch->latent_size = config->latent_size;
    batch->state_size = config->state_size;
    batch->observation = data;
    batch->action = batch->observation + (config->length + 1) * batch_size * config->observation_size;
    batch->reward = batch->action + rows * action_size;
    batch->discount = batch->reward + rows;
    batch->log_mu = batch->discount + rows;
    batch->mask = batch->log_mu + rows;
    batch->latent = batch->mask + rows;
    batch->state = batch->latent + rows * config->latent_size;
}

BPRIOR_API bp_status bp_replay_sample(bp_batch *batch, const bp_replay *replay, bp_rng *rng, bp_error *error) {
    const size_t T = replay->config.length, O = replay->config.observation_size, A = replay->config.action_size;
    const size_t B = batch->batch, Z = replay->config.latent_size, state_size = replay->config.state_size;
    size_t b, t;
    if (replay->count == 0) return bpi_fail(error, BP_ERR_EMPTY, "replay: empty");
    if (batch->length != T || batch->observation_size != O || batch->action_size != A || batch->latent_size != Z ||
        batch->state_size != state_size)
        return bpi_fail(error, BP_ERR_SIZE, "replay: batch of another shape");
    for (b = 0; b < B; b++) {
        /* a slot's layout is bp_sequence's; here it is transposed into time-first rows */
        const bp_real *slot = replay->data + bp_rng_index(rng, replay->count) * replay->stride;
        const bp_real *action = slot + (T + 1) * O, *reward = action + T * A, *discount = reward + T;
        const bp_real *log_mu = discount + T, *mask = log_mu + T, *latent = mask + T, *state = latent + T * Z;
        if (state_size) memcpy(batch->state + b * state_size, state, state_size * sizeof(bp_real));
        for (t = 0; t <= T; t++)
            memcpy(batch->observation + (t * B + b) * O, slot + t * O, O * sizeof(bp_real));
        for (t = 0; t < T; t++) {
            const size_t row = t * B + b;
            memcpy(batch->action + row * A, action + t * A, A * sizeof(bp_real));
            batch->reward[row] = reward[t];
            batch->discount[row] = discount[t];
            batch->log_mu[row] = log_mu[t];
            batch->mask[row] = mask[t];
            if (Z) memcpy(batch->latent + row * Z, latent + t * Z, Z * sizeof(bp_real));
        }
    }
    return BP_OK;
}

/* ==========================================================================
 * 17. >>retrace   Retrace with soft values
 * ========================================================================== */

/* Where the recursion comes from. Munos et al. (2016) correct a value by a sum of discounted temporal
 * differences, each weighted by the product of the traces passed on the way:
 *
 *   target_t = q_t + sum_{i>=t} ( prod_{j=t..i-1} discount_j c_{j+1} ) delta_i
 *   delta_i  = reward_i + discount_i value_{i+1} - q_i
 *
 * The product is empty for i = t: the action a_t itself was taken, there is nothing to correct. (The
 * paper's box starts it one step early; see the errata.) Pull the first term out of the sum and what
 * is left is discount_t c_{t+1} times the same sum one step later, which is (target_{t+1} - q_{t+1}):
 *
 *   target_t = reward_t + discount_t ( value_{t+1} + c_{t+1} (target_{t+1} - q_{t+1}) )
 *
 * and q_t has cancelled. The last row has no successor in the sequence: it bootstraps from value_T alone.
 * A boundary row has c = 0, so nothing of the next episode leaks over it.
 */
BPRIOR_API void bp_retrace(bp_real *target, const bp_real *reward, const bp_real *discount, const bp_real *value,
                           const bp_real *q, const bp_real *c, size_t T, size_t B) {
    size_t t, b;
    for (t = T; t-- > 0;) {
        const size_t now = t * B, next = (t + 1) * B;
        for (b = 0; b < B; b++) {
            bp_real tail = value[next + b];
            if (t + 1 < T) tail += c[next + b] * (target[next + b] - q[next + b]);
            target[now + b] = reward[now + b] + discount[now + b] * tail;
        }
    }
}

BPRIOR_API void bp_retrace_reference(bp_real *target, const bp_real *reward, const bp_real *discount,
                                     const bp_real *value, const bp_real *q, const bp_real *c, size_t T, size_t B) {
    size_t t, i, b;
    for (b = 0; b < B; b++) {
        for (t = 0; t < T; t++) {
            double sum = (double)q[t * B + b], weight = 1.0;
            for (i = t; i < T; i++) {
                const double delta = (double)reward[i * B + b] +
                                     (double)discount[i * B + b] * (double)value[(i + 1) * B + b] -
                                     (double)q[i * B + b];
                sum += weight * delta;
                if (i + 1 < T) weight *= (double)discount[i * B + b] * (double)c[(i + 1) * B + b];
            }
            target[t * B + b] = BP_R(sum);
        }
    }
}

BPRIOR_API void bp_retrace_trace(bp_real *c, const bp_real *log_pi, const bp_real *log_mu, const bp_real *mask,
                                 double lambda, size_t T, size_t B) {
    size_t i;
    for (i = 0; i < T * B; i++) {
        /* min before exp: the ratio of a very unlikely behavior action must not overflow.
         * Written so that a NaN difference stays NaN (a comparison with NaN is false). */
        const bp_real difference = log_pi[i] - log_mu[i];
        const bp_real ratio = difference >= BP_R(0) ? BP_R(1) : bp_exp(difference);
        c[i] = mask[i] > BP_R(0) ? BP_R(lambda) * ratio : BP_R(0);
    }
}

/* ==========================================================================
 * 18. >>learner   The SVG(0)/Retrace learner
 *
 * How a step is organised. The batch is cut by sequences into config.shards pieces of fixed size and order.
 * A shard computes its part of all three gradients alone, with its own working memory, so shards can run on
 * any thread; then the parts are added in shard order and Adam takes one step per network.
 *
 *    for each shard                                               rows
 *      0  where episodes begin, what was remembered, when z is drawn
 *      1  policies and priors on its observations, and latents    t = 0..T-1 and t = 1..T
 *      2  V_t: target critics at S sampled actions                t = 1..T
 *      3  traces and Retrace targets                              t = 0..T-1
 *      4  critic loss and its gradient          E20               t = 0..T-1
 *      5  policy loss and its gradient          E21               t = 0..T-1
 *      6  prior loss and its gradient           E22               t = 0..T-1
 *    add up, check, clip, Adam, copy targets
 *
 * Inside a shard rows are numbered i = t*Bs + j (step t, its j-th sequence). The rows t = 0..T-1 and the
 * rows t = 1..T are then two windows of one list of T*Bs + Bs rows, Bs apart: "now" and "next". A network with
 * memory is run over the whole list, whichever window is asked for.
 * ========================================================================== */

/* Rows times samples that go through a critic at once: enough to keep the GEMM busy, few enough for the
 * activations to stay in the second-level cache. Part of the result's definition (summation order). */
#define BPI_RS0_CHUNK 512

/* Largest gradient norm whose square bp_real can hold with room to spare. */
#define BPI_RS0_LARGEST_GRADIENT (sizeof(bp_real) == sizeof(float) ? 1e18 : 1e150)

/* The state of acting and learning, part by part: see bp_rs0_act(). */
enum { BPI_STATE_HIGH,
       BPI_STATE_LOW,
       BPI_STATE_Z, /* z and its age */
       BPI_STATE_PRIOR_HIGH,
       BPI_STATE_PRIOR_LOW,
       BPI_STATE_CRITIC, /* and one more for a twin */
       BPI_STATE_TWIN,
       BPI_STATES };

/* Sums over a shard's unmasked rows; the metrics are made of these. */
typedef struct bpi_rs0_sums {
    double critic_loss, policy_loss, prior_loss, kl, kl_high, entropy;
    double q, q_square, target, td_abs, value, trace, trace_rows, std;
} bpi_rs0_sums;

struct bpi_rs0_shard {
    size_t first_sequence, count; /* of the batch */
    size_t n;                     /* T * count */
    bp_compute compute;
    bpi_rs0_sums sums;
    bp_real *policy_grad, *prior_grad, *critic_grad;

    size_t *rows;                      /* [n + count] row numbers t*B + b of the batch's arrays */
    size_t *order;                     /* [n] rows sorted by task */
    size_t *group_rows;                /* [n] rows[order[i]] */
    size_t *group;                     /* [n_tasks + 1] where each task's rows start in order */
    bp_real *group_dist, *group_ddist; /* [n*D] */

    bp_real *pi, *pi_saved;          /* online policy, t = 0..T-1 */
    bp_real *ddist;                  /* [n*D] gradient at the policy's distributions */
    bp_real *pi_value, *pi_kl;       /* t = 1..T: whose samples, whose KL */
    bp_real *prior_now, *prior_next; /* target prior, t = 0..T-1 and t = 1..T */
    bp_real *pi0, *pi0_saved;        /* online prior, t = 0..T-1 */
    bp_real *policy_work;            /* for policy and prior calls of n rows */

    bp_real *reward, *discount, *mask, *log_mu, *action; /* [T][Bs], action [T][Bs][A] */
    bp_real *value;                                      /* [T+1][Bs] */
    bp_real *target_q, *log_pi, *trace, *target;         /* [T][Bs] */
    bp_real *weight;                                     /* [n] mask / unmasked rows of the batch */
    bp_real *row_a, *row_b;                              /* [n] scratch, one number per row */

    bp_real *x;      /* [R][X] what the critic sees: fields, z, h of its memory */
    bp_real *fields; /* [.][F] its fields alone, when there is more: a chunk's, or all n + Bs rows for its memory */
    bp_real *u, *du; /* [R][S+1][U] actions as the critic sees them */
    bp_real *critic_out[2], *critic_saved[2], *critic_dout, *critic_work;

    /* memory: states before row 0 [Bs][.], and where they are zeroed */
    bp_real *state[BPI_STATES];
    bp_real *reset;                                        /* [n + Bs] */
    bp_real *h_target[2], *h[2], *h_saved[2], *dx, *dh[2]; /* the critics' [n + Bs][H], [n][H]; dx [R][X]; dh [n][H] */

    /* latents. Rows of the first two kinds: n + Bs (t = 0..T), of the others n */
    bp_real *first, *drawn;                /* 1: there is no z before; z is drawn in this row, not held */
    bp_real *z_value, *z_value_before;     /* latents of V_t and the critic, and those of the step before each */
    bp_real *high_value;                   /* their distributions */
    bp_real *z_policy, *z_policy_before;   /* latents of the policy loss */
    bp_real *z_stored;                     /* joint ratio: those that were acted on */
    bp_real *high, *high_saved;            /* online policy's high level, t = 0..T-1 */
    bp_real *high_kl;                      /* t = 1..T: whose KL */
    bp_real *high0_next, *high0_now;       /* target prior's */
    bp_real *high0, *high0_saved;          /* online prior's */
    bp_real *low_stored;                   /* joint ratio: low level at the stored z, t = 1..T-1 */
    bp_real *prior_now_saved, *dprior_now; /* target prior's low level, for the way back to z */
    bp_real *dhigh, *dz;                   /* [2][n][Z], [n][Z] */
};

/* ---- configuration ------------------------------------------------------ */

BPRIOR_API bp_rs0_config bp_rs0_config_make(uint32_t cookie) {
    bp_rs0_config c;
    size_t i;
    memset(&c, 0, sizeof c);
    c.cookie = cookie;
    if (cookie != BP_COOKIE(bp_rs0_config)) return c;
    c.policy = bp_policy_config_default();
    c.prior = bp_policy_config_default();
    c.prior_kind = BP_PRIOR_NONE;
    c.prior_std = 1.0;
    c.latent = bp_latent_config_default(0);
    c.n_critic_fields = 1;
    c.critic_fields[0] = "*";
    c.critic_layers = 2;
    for (i = 0; i < BP_MAX_LAYERS; i++) c.critic_width[i] = 64;
    c.critic_activation = BP_ACT_ELU;
    c.critic_layer_norm = true;
    c.critic_output_scale = 1e-4;
    c.n_tasks = 1;
    memcpy(c.task_field, "task", 5);
    c.memory_start = BP_MEMORY_STORED;
    c.batch = 256;
    c.length = 10;
    c.samples = 10;
    c.discount = 0.99;
    c.lambda = 1.0;
    c.alpha = bp_schedule_constant(1e-3);
    c.kl_target = 1.0;
    c.alpha_lr = 1e-3;
    c.entropy_cost = bp_schedule_constant(1e-3);
    c.entropy_lr = 1e-3;
    c.policy_adam = bp_adam_config_default();
    c.prior_adam = bp_adam_config_default();
    c.critic_adam = bp_adam_config_default();
    c.target_period = 100;
    c.shards = 2;
    c.kernel = BP_KERNEL_AUTO;
    c.seed = 1;
    return c;
}

/* Is `x` inside [low, high]? NaN is not. Says which setting when it is not. */
BPI_FN bp_status bpi_rs0_range(const char *name, double x, double low, double high, bp_error *error) {
    if (x >= low && x <= high) return BP_OK;
    return bpi_fail(error, BP_ERR_ARGUMENT, "learner: %s is %g, must be in [%g, %g]", name, x, low, high);
}

/* An optimiser's settings; its complaint is prefixed with whose they are. lr = 0 is a real setting here (a network
 * that is to stay as it is), though an optimiser by itself has no use for it. */
BPI_FN bp_status bpi_rs0_check_adam(const char *name, const bp_adam_config *adam, bp_error *error) {
    bp_adam_config moving = *adam;
    bp_error detail;
    bp_status s;
    if (adam->lr == 0.0) moving.lr = 1.0;
    s = bp_adam_config_check(&moving, &detail);
    return s == BP_OK ? BP_OK : bpi_fail(error, s, "learner: %s: %s", name, detail.text);
}

/* More steps than a latent can be held: ages are counted in bp_real, whose whole numbers end at 2^24 in float. */
#define BPI_MOST_HOLD ((size_t)1 << 24)

/* The numbers of a configuration, one by one. */
BPI_FN bp_status bpi_rs0_check(const bp_rs0_config *c, bp_error *error) {
    const double big = 1e9;
    bp_status s = bpi_check_cookie(c->cookie, BP_COOKIE(bp_rs0_config), "bp_rs0_config", error);
    if (s == BP_OK) s = bpi_check_cookie(c->latent.cookie, BP_COOKIE(bp_latent_config), "bp_latent_config", error);
    if (s != BP_OK) return s;
#define BPI_RANGE(field, low, high) \
    if ((s = bpi_rs0_range(#field, (double)c->field, low, high, error)) != BP_OK) return s
    BPI_RANGE(batch, 1, big);
    BPI_RANGE(length, 1, big);
    BPI_RANGE(samples, 1, big);
    BPI_RANGE(shards, 1, (double)c->batch);
    BPI_RANGE(n_tasks, 1, big);
    BPI_RANGE(n_critic_fields, 0, BP_MAX_FIELDS);
    BPI_RANGE(discount, 0, 1);
    BPI_RANGE(lambda, 0, 1);
    BPI_RANGE(prior_std, 1e-6, big);
    BPI_RANGE(alpha.start, 0, big);
    BPI_RANGE(alpha.end, 0, big);
    BPI_RANGE(entropy_cost.start, 0, big);
    BPI_RANGE(entropy_cost.end, 0, big);
    BPI_RANGE(kl_target, 0, big);
    BPI_RANGE(alpha_lr, 0, big);
    BPI_RANGE(entropy_target, -big, big);
    BPI_RANGE(entropy_lr, 0, big);
    BPI_RANGE(tau, 0, 1);
    BPI_RANGE(alpha_mode, BP_WEIGHT_SCHEDULED, BP_WEIGHT_ADAPTED);
    BPI_RANGE(entropy_mode, BP_WEIGHT_SCHEDULED, BP_WEIGHT_ADAPTED);
    BPI_RANGE(value_source, BP_SOURCE_TARGET, BP_SOURCE_ONLINE);
    BPI_RANGE(kl_source, BP_SOURCE_TARGET, BP_SOURCE_ONLINE);
    BPI_RANGE(prior_kind, BP_PRIOR_NONE, BP_PRIOR_FIXED);
    BPI_RANGE(memory_start, BP_MEMORY_STORED, BP_MEMORY_ZERO);
    BPI_RANGE(burn_in, 0, (double)c->length - 1.0);
    BPI_RANGE(latent.size, 0, big);
    BPI_RANGE(latent.hold, 0, (double)BPI_MOST_HOLD);
    BPI_RANGE(latent.prior_kind, BP_HIGH_LEARNED, BP_HIGH_AR1);
    BPI_RANGE(latent.phi, -1.0 + 1e-6, 1.0 - 1e-6);
#undef BPI_RANGE
    if ((s = bpi_rs0_check_adam("policy_adam", &c->policy_adam, error)) != BP_OK) return s;
    if ((s = bpi_rs0_check_adam("prior_adam", &c->prior_adam, error)) != BP_OK) return s;
    if ((s = bpi_rs0_check_adam("critic_adam", &c->critic_adam, error)) != BP_OK) return s;
    if ((s = bp_schedule_check(&c->alpha, error)) != BP_OK) return s;
    if ((s = bp_schedule_check(&c->entropy_cost, error)) != BP_OK) return s;
    if (!(c->tau > 0.0) && c->target_period == 0)
        return bpi_fail(error, BP_ERR_ARGUMENT, "learner: target_period is 0 and tau is 0: targets would never move");
    if (c->alpha_mode == BP_WEIGHT_ADAPTED && !(c->alpha.start > 0.0))
        return bpi_fail(error, BP_ERR_ARGUMENT, "learner: an adapted alpha must start above 0");
    if (c->entropy_mode == BP_WEIGHT_ADAPTED && !(c->entropy_cost.start > 0.0))
        return bpi_fail(error, BP_ERR_ARGUMENT, "learner: an adapted entropy_cost must start above 0");
    return BP_OK;
}

/* Which parts there are. NONE has no KL; only LEARNED and FIXED have networks of their own. */
BPI_FN bool bpi_rs0_has_prior_net(const bp_rs0 *l) {
    return l->config.prior_kind == BP_PRIOR_LEARNED || l->config.prior_kind == BP_PRIOR_FIXED;
}
BPI_FN bool bpi_rs0_has_levels(const bp_rs0 *l) { return l->latent.size > 0; }
BPI_FN bool bpi_rs0_has_high_kl(const bp_rs0 *l) { return bpi_rs0_has_levels(l) && bpi_rs0_has_prior_net(l); }
BPI_FN bool bpi_rs0_shares_low(const bp_rs0 *l) { return bpi_rs0_has_levels(l) && l->config.latent.shared_low; }
BPI_FN bool bpi_rs0_has_low_kl(const bp_rs0 *l) { return l->config.prior_kind != BP_PRIOR_NONE && !bpi_rs0_shares_low(l); }
BPI_FN bool bpi_rs0_has_low_prior(const bp_rs0 *l) { return bpi_rs0_has_prior_net(l) && !bpi_rs0_shares_low(l); }
BPI_FN bool bpi_rs0_has_high_prior(const bp_rs0 *l) {
    return bpi_rs0_has_high_kl(l) && bpi_high_has_net(l->config.latent.prior_kind);
}
BPI_FN bool bpi_rs0_joint(const bp_rs0 *l) { return bpi_rs0_has_levels(l) && l->config.latent.joint_ratio; }
/* Where the low levels begin in their parameter vectors, and how long one critic's is. */
BPI_FN size_t bpi_rs0_low_at(const bp_rs0 *l) { return bpi_rs0_has_levels(l) ? l->high.n_params : 0; }
BPI_FN size_t bpi_rs0_low_prior_at(const bp_rs0 *l) { return bpi_rs0_has_high_prior(l) ? l->high_prior.n_params : 0; }
BPI_FN size_t bpi_rs0_critic_size(const bp_rs0 *l) { return l->critic.n_params + l->critic_rnn.n_params; }

BPI_FN size_t bpi_rs0_n_critics(const bp_rs0 *l) { return l->config.twin_critics ? 2 : 1; }

/* Size of a part of the state. */
BPI_FN size_t bpi_rs0_state_part(const bp_rs0 *l, int part) {
    switch (part) {
    case BPI_STATE_HIGH: return bpi_rs0_has_levels(l) ? l->high.state_size : 0;
    case BPI_STATE_LOW: return l->policy.state_size;
    case BPI_STATE_Z: return bpi_rs0_has_levels(l) ? l->latent.size + 1 : 0;
    case BPI_STATE_PRIOR_HIGH: return bpi_rs0_has_high_prior(l) ? l->high_prior.state_size : 0;
    case BPI_STATE_PRIOR_LOW: return bpi_rs0_has_low_prior(l) ? l->prior.state_size : 0;
    case BPI_STATE_CRITIC: return 2 * l->critic_rnn.units;
    case BPI_STATE_TWIN: return bpi_rs0_n_critics(l) > 1 ? 2 * l->critic_rnn.units : 0;
    default: return 0;
    }
}

/* Where it begins; of BPI_STATES: the whole size. */
BPI_FN size_t bpi_rs0_state_at(const bp_rs0 *l, int part) {
    size_t at = 0;
    int i;
    for (i = 0; i < part; i++) at += bpi_rs0_state_part(l, i);
    return at;
}

/* Does anything remember? Then rows of a sequence hang together. */
BPI_FN bool bpi_rs0_remembers(const bp_rs0 *l) { return l->state_size > bpi_rs0_state_part(l, BPI_STATE_Z); }

/* Action samples per state: S draws, or all K choices. */
BPI_FN size_t bpi_rs0_n_samples(const bp_rs0 *l) {
    return l->policy.output == BP_OUTPUT_CATEGORICAL ? l->policy.n_choices : l->config.samples;
}

/* Rows of states that go through the critics at once. */
BPI_FN size_t bpi_rs0_chunk(const bp_rs0 *l) { return bpi_max_size(1, BPI_RS0_CHUNK / (bpi_rs0_n_samples(l) + 1)); }

/* Does the largest array of the layout fit a size_t, with room for what is computed from it? Everything else in
 * the layout is a smaller product of the same numbers. */
BPI_FN bool bpi_rs0_fits(const bp_rs0 *l) {
    size_t widest = bpi_max_size(l->spec.observation_size, l->policy.dist_size), i, product;
    const bp_mlp *net[9];
    size_t k;
    net[0] = &l->policy.net, net[1] = &l->policy.rnn.torso, net[2] = &l->prior.net, net[3] = &l->prior.rnn.torso;
    net[4] = &l->high.net, net[5] = &l->high.rnn.torso, net[6] = &l->high_prior.net, net[7] = &l->high_prior.rnn.torso;
    net[8] = &l->critic_rnn.torso; /* what there is not has no layers */
    for (k = 0; k < 9; k++)
        for (i = 0; i < net[k]->n_layers; i++) widest = bpi_max_size(widest, net[k]->layer[i].out);
    for (i = 0; i < l->critic.n_layers; i++) widest = bpi_max_size(widest, l->critic.layer[i].out);
    widest = bpi_max_size(widest, bpi_max_size(l->critic.config.input, 2 * l->latent.size));
    return bp_size_add(&product, l->config.length, 1) && bp_size_mul(&product, product, l->config.batch) &&
           bp_size_mul(&product, product, bpi_rs0_n_samples(l) + 1) && bp_size_mul(&product, product, widest) &&
           bp_size_mul(&product, product, 64 * sizeof(bp_real)) &&
           bp_size_mul(&product, l->config.n_tasks, l->policy.n_params) && bp_size_mul(&product, product, 64 * sizeof(bp_real)) &&
           bp_size_mul(&product, l->high.n_params, 64 * sizeof(bp_real));
}

/* Two levels: what they may be combined with, and their structure. */
BPI_FN bp_status bpi_rs0_resolve_levels(bp_rs0 *l, const bp_spec *spec, const bp_rs0_config *config, bp_error *error) {
    const bp_latent_config *c = &config->latent;
    bp_status s;
    if (c->size == 0) return BP_OK;
    if (config->prior_kind != BP_PRIOR_NONE && config->prior_kind != BP_PRIOR_LEARNED && config->prior_kind != BP_PRIOR_FIXED)
        return bpi_fail(error, BP_ERR_UNSUPPORTED,
                        "learner: prior_kind is %s; with a latent it must be none, learned or fixed (latent.prior_kind says of what "
                        "kind its high level is)",
                        bp_prior_kind_str(config->prior_kind));
    if (config->n_tasks > 1)
        return bpi_fail(error, BP_ERR_UNSUPPORTED, "learner: n_tasks is %lu; with a latent it must be 1",
                        (unsigned long)config->n_tasks);
    l->latent.size = c->size;
    l->latent.hold = c->hold;
    l->latent.phi = c->phi;
    s = bp_policy_init_level(&l->high, spec, &c->high, c->size, true, false, error);
    if (s == BP_OK && bpi_rs0_has_high_prior(l))
        s = bp_policy_init_level(&l->high_prior, spec, &c->high_prior, c->size, true, c->prior_kind == BP_HIGH_AUTOREGRESSIVE, error);
    return s;
}

/* A policy or prior that acts: alone, or as the low level. */
BPI_FN bp_status bpi_rs0_resolve_low(bp_policy *policy, const bp_rs0 *l, const bp_spec *spec, const bp_policy_config *config,
                                     bp_error *error) {
    if (bpi_rs0_has_levels(l)) return bp_policy_init_level(policy, spec, config, l->latent.size, false, false, error);
    return bp_policy_init(policy, spec, config, error);
}

/* Turn names and numbers into structure: everything of a learner but its arrays. */
BPI_FN bp_status bpi_rs0_resolve(bp_rs0 *l, const bp_spec *spec, const bp_rs0_config *config, bp_error *error) {
    bp_mlp_config net;
    size_t i;
    bp_status s;
    memset(l, 0, sizeof *l);
    s = bpi_rs0_check(config, error);
    if (s == BP_OK) s = bp_spec_check(spec, error);
    if (s != BP_OK) return s;
    l->config = *config;
    l->spec = *spec;
    if (spec->action_kind == BP_ACTION_CONTINUOUS) {
        for (i = 0; i < spec->action_size; i++) {
            if (spec->action_low[i] != -1.0 || spec->action_high[i] != 1.0)
                return bpi_fail(error, BP_ERR_MISMATCH,
                                "learner: action %lu has limits [%g, %g]; the learner works in [-1, 1], wrap the "
                                "environment in bp_env_rescale_actions()",
                                (unsigned long)i, spec->action_low[i], spec->action_high[i]);
        }
    }

    s = bpi_rs0_resolve_levels(l, spec, config, error);
    if (s == BP_OK) s = bpi_rs0_resolve_low(&l->policy, l, spec, &config->policy, error);
    if (s == BP_OK && bpi_rs0_has_low_prior(l)) s = bpi_rs0_resolve_low(&l->prior, l, spec, &config->prior, error);
    if (s == BP_OK) s = bp_field_set_make(&l->critic_fields, spec, config->critic_fields, config->n_critic_fields, error);
    if (s != BP_OK) return s;

    if (config->n_tasks > 1) {
        const char *name = l->config.task_field;
        if (l->policy.state_size)
            return bpi_fail(error, BP_ERR_UNSUPPORTED,
                            "learner: per-task policies (n_tasks %lu) cannot have memory; give the policy the task field instead",
                            (unsigned long)config->n_tasks);
        l->config.task_field[BP_NAME - 1] = '\0';
        s = bp_field_set_make(&l->task, spec, &name, 1, error);
        if (s != BP_OK) return s;
        if (l->task.size != config->n_tasks)
            return bpi_fail(error, BP_ERR_SIZE, "learner: field \"%s\" has %lu numbers, n_tasks is %lu (one-hot)",
                            name, (unsigned long)l->task.size, (unsigned long)config->n_tasks);
    }

    if (config->critic_lstm) {
        net = bp_mlp_config_default(l->critic_fields.size, 4);
        net.hidden_layers = 0;
        s = bp_rnn_init(&l->critic_rnn, &net, config->critic_lstm, error);
        if (s != BP_OK) return s;
    }
    net = bp_mlp_config_default(l->critic_fields.size, 1);
    if (!bp_size_add(&net.input, net.input, l->critic_rnn.units) ||
        !bp_size_add(&net.input, net.input, config->latent.critic_sees_latent ? l->latent.size : 0))
        return bpi_fail(error, BP_ERR_SIZE, "learner: the critic's input overflows a size");
    net.extra = l->policy.output == BP_OUTPUT_CATEGORICAL ? l->policy.n_choices : l->policy.action_size;
    net.hidden_layers = config->critic_layers;
    for (i = 0; i < BP_MAX_LAYERS; i++) net.width[i] = config->critic_width[i];
    net.activation = config->critic_activation;
    net.layer_norm = config->critic_layer_norm;
    net.output_scale = config->critic_output_scale;
    s = bp_mlp_init(&l->critic, &net, error);
    if (s != BP_OK) return s;
    if (!bpi_rs0_fits(l)) return bpi_fail(error, BP_ERR_SIZE, "learner: batch, length, samples and widths overflow a size");

    l->policy_p.n = config->n_tasks * l->policy.n_params + l->high.n_params;
    l->prior_p.n = l->high_prior.n_params + l->prior.n_params;
    l->critic_p.n = bpi_rs0_n_critics(l) * bpi_rs0_critic_size(l);
    l->state_size = bpi_rs0_state_at(l, BPI_STATES);
    if (config->alpha_mode == BP_WEIGHT_ADAPTED)
        l->alpha_dual = bp_dual_make(config->alpha.start, config->alpha_lr, config->kl_target, 1e-8, 1e8);
    if (config->entropy_mode == BP_WEIGHT_ADAPTED)
        l->entropy_dual = bp_dual_make(config->entropy_cost.start, config->entropy_lr, -config->entropy_target, 1e-8, 1e8);

    /* the caller's strings may go away */
    memset((void *)l->config.policy.fields, 0, sizeof l->config.policy.fields);
    memset((void *)l->config.prior.fields, 0, sizeof l->config.prior.fields);
    memset((void *)l->config.latent.high.fields, 0, sizeof l->config.latent.high.fields);
    memset((void *)l->config.latent.high_prior.fields, 0, sizeof l->config.latent.high_prior.fields);
    memset((void *)l->config.critic_fields, 0, sizeof l->config.critic_fields);
    return BP_OK;
}

/* ---- memory --------------------------------------------------------------- */

BPI_FN void bpi_learned_layout(bp_learned *p, bp_arena *arena) {
    p->online = bp_arena_real(arena, p->n);
    p->target = bp_arena_real(arena, p->n);
    p->grad = bp_arena_real(arena, p->n);
    p->m = bp_arena_real(arena, p->n);
    p->v = bp_arena_real(arena, p->n);
}

BPI_FN void bpi_rs0_shard_layout(struct bpi_rs0_shard *sh, const bp_rs0 *l, bp_arena *arena, void **compute_memory) {
    const size_t T = l->config.length, Bs = sh->count, n = T * Bs, D = l->policy.dist_size;
    const size_t A = l->policy.action_size, R = bpi_rs0_chunk(l), S = bpi_rs0_n_samples(l), C = bpi_rs0_n_critics(l);
    const size_t many = BPI_RS0_CHUNK; /* chunk of the critic loss, where each row has one action */
    const bool has_net = bpi_rs0_has_low_prior(l), has_kl = bpi_rs0_has_low_kl(l);
    const size_t X = l->critic.config.input, U = l->critic.config.extra, F = l->critic_fields.size;
    const size_t Z = l->latent.size, H = l->critic_rnn.units, both = n + Bs;
    size_t k, work;
    int part;
    sh->n = n;
    *compute_memory = bp_arena_take(arena, 1, bp_compute_bytes());
    sh->policy_grad = bp_arena_real(arena, l->policy_p.n);
    sh->prior_grad = bp_arena_real(arena, l->prior_p.n);
    sh->critic_grad = bp_arena_real(arena, l->critic_p.n);

    sh->rows = (size_t *)bp_arena_take(arena, n + Bs, sizeof(size_t));
    if (l->config.n_tasks > 1) {
        sh->order = (size_t *)bp_arena_take(arena, n, sizeof(size_t));
        sh->group_rows = (size_t *)bp_arena_take(arena, n, sizeof(size_t));
        sh->group = (size_t *)bp_arena_take(arena, l->config.n_tasks + 1, sizeof(size_t));
        sh->group_dist = bp_arena_real(arena, n * D);
        sh->group_ddist = bp_arena_real(arena, n * D);
    }
    sh->pi = bp_arena_real(arena, n * D);
    sh->pi_saved = bp_arena_real(arena, bp_policy_unroll_saved_reals(&l->policy, T, Bs));
    sh->ddist = bp_arena_real(arena, n * D);
    sh->pi_value = bp_arena_real(arena, n * D);
    sh->pi_kl = l->config.kl_source == l->config.value_source ? sh->pi_value : bp_arena_real(arena, n * D);
    work = bp_policy_unroll_work_reals(&l->policy, T + 1, Bs);
    if (has_kl) {
        sh->prior_now = bp_arena_real(arena, n * D);
        sh->prior_next = bp_arena_real(arena, n * D);
    }
    if (has_net) {
        sh->pi0 = bp_arena_real(arena, n * D);
        sh->pi0_saved = bp_arena_real(arena, bp_policy_unroll_saved_reals(&l->prior, T, Bs));
        work = bpi_max_size(work, bp_policy_unroll_work_reals(&l->prior, T + 1, Bs));
    }
    if (Z) {
        sh->first = bp_arena_real(arena, both);
        sh->drawn = bp_arena_real(arena, both);
        sh->z_value = bp_arena_real(arena, both * Z);
        sh->z_value_before = bp_arena_real(arena, both * Z);
        sh->high_value = bp_arena_real(arena, both * 2 * Z);
        sh->z_policy = bp_arena_real(arena, n * Z);
        sh->z_policy_before = bp_arena_real(arena, n * Z);
        sh->high = bp_arena_real(arena, n * 2 * Z);
        sh->high_saved = bp_arena_real(arena, bp_policy_unroll_saved_reals(&l->high, T, Bs));
        sh->high_kl = bp_arena_real(arena, n * 2 * Z);
        sh->high0_next = bp_arena_real(arena, n * 2 * Z);
        sh->high0_now = bp_arena_real(arena, n * 2 * Z);
        sh->dhigh = bp_arena_real(arena, n * 2 * Z);
        sh->dz = bp_arena_real(arena, n * Z);
        work = bpi_max_size(work, bp_policy_unroll_work_reals(&l->high, T + 1, Bs));
        if (bpi_rs0_has_high_prior(l)) {
            sh->high0 = bp_arena_real(arena, n * 2 * Z);
            sh->high0_saved = bp_arena_real(arena, bp_policy_unroll_saved_reals(&l->high_prior, T, Bs));
            work = bpi_max_size(work, bp_policy_unroll_work_reals(&l->high_prior, T + 1, Bs));
        }
        if (has_net) {
            sh->prior_now_saved = bp_arena_real(arena, bp_policy_unroll_saved_reals(&l->prior, T, Bs));
            sh->dprior_now = bp_arena_real(arena, n * D);
        }
        if (bpi_rs0_joint(l)) {
            sh->z_stored = bp_arena_real(arena, both * Z);
            sh->low_stored = bp_arena_real(arena, n * D);
        }
    }
    if (bpi_rs0_remembers(l)) sh->reset = bp_arena_real(arena, both);
    for (part = 0; part < BPI_STATES; part++) sh->state[part] = bp_arena_real(arena, Bs * bpi_rs0_state_part(l, part));
    if (H) {
        work = bpi_max_size(work, bp_rnn_work_reals(&l->critic_rnn, T + 1, Bs));
        sh->dx = bp_arena_real(arena, many * X);
        for (k = 0; k < C; k++) {
            sh->h_target[k] = bp_arena_real(arena, both * H);
            sh->h[k] = bp_arena_real(arena, n * H);
            sh->dh[k] = bp_arena_real(arena, n * H);
            sh->h_saved[k] = bp_arena_real(arena, bp_rnn_saved_reals(&l->critic_rnn, T, Bs));
        }
    }
    if (X > F) sh->fields = bp_arena_real(arena, (H ? bpi_max_size(both, many) : many) * F);
    sh->policy_work = bp_arena_real(arena, work);

    sh->reward = bp_arena_real(arena, n);
    sh->discount = bp_arena_real(arena, n);
    sh->mask = bp_arena_real(arena, n);
    sh->log_mu = bp_arena_real(arena, n);
    sh->action = bp_arena_real(arena, n * A);
    sh->value = bp_arena_real(arena, n + Bs);
    sh->target_q = bp_arena_real(arena, n);
    sh->log_pi = bp_arena_real(arena, n);
    sh->trace = bp_arena_real(arena, n);
    sh->target = bp_arena_real(arena, n);
    sh->weight = bp_arena_real(arena, n);
    sh->row_a = bp_arena_real(arena, n);
    sh->row_b = bp_arena_real(arena, n);

    sh->x = bp_arena_real(arena, many * X);
    sh->u = bp_arena_real(arena, bpi_max_size(R * (S + 1), many) * U);
    sh->du = bp_arena_real(arena, R * (S + 1) * U);
    for (k = 0; k < C; k++) {
        sh->critic_out[k] = bp_arena_real(arena, bpi_max_size(R * (S + 1), many));
        sh->critic_saved[k] = bp_arena_real(
            arena, bpi_max_size(bp_mlp_saved_reals(&l->critic, R, S + 1), bp_mlp_saved_reals(&l->critic, many, 1)));
    }
    sh->critic_dout = bp_arena_real(arena, bpi_max_size(R * (S + 1), many));
    sh->critic_work = bp_arena_real(
        arena, bpi_max_size(bp_mlp_work_reals(&l->critic, R, S + 1), bp_mlp_work_reals(&l->critic, many, 1)));
}

/* Run once to measure (l is a resolved learner on the stack) and once to place. */
BPI_FN bp_status bpi_rs0_layout(bp_rs0 **out, const bp_rs0 *resolved, bp_arena *arena, bp_error *error) {
    bp_rs0 *placed = (bp_rs0 *)bp_arena_take(arena, 1, sizeof(bp_rs0));
    bp_rs0 counting = *resolved, *l = &counting;
    const size_t T = resolved->config.length, B = resolved->config.batch, shards = resolved->config.shards;
    const size_t noise = resolved->policy.output == BP_OUTPUT_GAUSSIAN
                             ? B * resolved->config.samples * resolved->policy.action_size
                             : 0;
    struct bpi_rs0_shard *shard, one;
    size_t i, first = 0;
    bp_status status;
    if (placed) {
        *placed = *resolved;
        l = placed;
    }
    bpi_learned_layout(&l->policy_p, arena);
    bpi_learned_layout(&l->prior_p, arena);
    bpi_learned_layout(&l->critic_p, arena);
    l->target_noise = bp_arena_real(arena, (T + 1) * noise);
    l->policy_noise = bp_arena_real(arena, T * noise);
    l->target_latent_noise = bp_arena_real(arena, (T + 1) * B * l->latent.size);
    l->policy_latent_noise = bp_arena_real(arena, T * B * l->latent.size);
    l->value = bp_arena_real(arena, (T + 1) * B);
    l->q = bp_arena_real(arena, bpi_rs0_n_critics(l) * T * B);
    l->trace = bp_arena_real(arena, T * B);
    l->retrace = bp_arena_real(arena, T * B);
    l->discount = bp_arena_real(arena, T * B);
    shard = (struct bpi_rs0_shard *)bp_arena_take(arena, shards, sizeof one);
    for (i = 0; i < shards; i++) {
        void *compute_memory;
        memset(&one, 0, sizeof one);
        one.first_sequence = first;
        one.count = B / shards + (i < B % shards ? 1 : 0);
        first += one.count;
        bpi_rs0_shard_layout(&one, l, arena, &compute_memory);
        if (shard == NULL || compute_memory == NULL) continue; /* measuring */
        status = bp_compute_init(&one.compute, l->config.kernel, compute_memory, error);
        if (status != BP_OK) return status;
        shard[i] = one;
    }
    l->shard = shard;
    if (arena->overflow) return bpi_fail(error, BP_ERR_SIZE, "learner: sizes overflow or memory block too small");
    *out = placed;
    return BP_OK;
}

BPRIOR_API bp_status bp_rs0_size(const bp_spec *spec, const bp_rs0_config *config, size_t *bytes, bp_error *error) {
    bp_rs0 resolved, *none;
    bp_arena arena = bp_arena_make(NULL, 0);
    bp_status status;
    *bytes = 0;
    status = bpi_rs0_resolve(&resolved, spec, config, error);
    if (status == BP_OK) status = bpi_rs0_layout(&none, &resolved, &arena, error);
    if (status == BP_OK) *bytes = arena.used;
    return status;
}

BPRIOR_API bp_status bp_rs0_init(bp_rs0 **out, void *memory, size_t bytes, const bp_spec *spec,
                                 const bp_rs0_config *config, bp_error *error) {
    bp_rs0 resolved, *l = NULL;
    bp_arena arena;
    bp_rng rng;
    uint64_t seed;
    size_t need, k;
    bp_status status;
    *out = NULL;
    status = bp_rs0_size(spec, config, &need, error);
    if (status != BP_OK) return status;
    if (memory == NULL || bytes < need)
        return bpi_fail(error, BP_ERR_SIZE, "learner: %lu bytes given, %lu needed", (unsigned long)bytes,
                        (unsigned long)need);
    arena = bp_arena_make(memory, bytes);
    status = bpi_rs0_resolve(&resolved, spec, config, error);
    if (status == BP_OK) status = bpi_rs0_layout(&l, &resolved, &arena, error);
    if (status != BP_OK) return status;

    /* One stream per network, so that adding a prior does not change the policy's start. The seed is mixed first:
     * users seed their own generators with the same small numbers, and streams must not coincide. */
    seed = bp_seed_mix(config->seed, 18, 0);
    for (k = 0; k < config->n_tasks; k++) {
        rng = bp_rng_make(seed, 1000 + k);
        bp_policy_init_params(l->policy_p.online + bpi_rs0_low_at(l) + k * l->policy.n_params, &l->policy, &rng);
    }
    if (bpi_rs0_has_levels(l)) {
        rng = bp_rng_make(seed, 4);
        bp_policy_init_params(l->policy_p.online, &l->high, &rng);
    }
    for (k = 0; k < bpi_rs0_n_critics(l); k++) {
        bp_real *critic = l->critic_p.online + k * bpi_rs0_critic_size(l);
        rng = bp_rng_make(seed, 1 + k);
        bp_mlp_init_params(critic, &l->critic, &rng);
        if (l->critic_rnn.units) bp_rnn_init_params(critic + l->critic.n_params, &l->critic_rnn, &rng);
    }
    if (bpi_rs0_has_low_prior(l)) {
        rng = bp_rng_make(seed, 3);
        bp_policy_init_params(l->prior_p.online + bpi_rs0_low_prior_at(l), &l->prior, &rng);
    }
    if (bpi_rs0_has_high_prior(l)) {
        rng = bp_rng_make(seed, 5);
        bp_policy_init_params(l->prior_p.online, &l->high_prior, &rng);
    }
    if (l->prior_p.n) {
        memcpy(l->prior_p.target, l->prior_p.online, l->prior_p.n * sizeof(bp_real));
    }
    memcpy(l->policy_p.target, l->policy_p.online, l->policy_p.n * sizeof(bp_real));
    memcpy(l->critic_p.target, l->critic_p.online, l->critic_p.n * sizeof(bp_real));
    *out = l;
    return BP_OK;
}

BPRIOR_API bp_status bp_rs0_create(bp_rs0 **out, const bp_spec *spec, const bp_rs0_config *config,
                                   const bp_allocator *allocator, bp_error *error) {
    size_t bytes;
    void *memory;
    bp_status status;
    *out = NULL;
    status = bp_rs0_size(spec, config, &bytes, error);
    if (status != BP_OK) return status;
    memory = bp_alloc(allocator, bytes);
    if (memory == NULL) return bpi_fail(error, BP_ERR_MEMORY, "learner: no memory for %lu bytes", (unsigned long)bytes);
    status = bp_rs0_init(out, memory, bytes, spec, config, error);
    if (status != BP_OK) {
        bp_free(allocator, memory, bytes);
        return status;
    }
    bpi_own(&(*out)->owner, allocator, bytes);
    return BP_OK;
}

BPRIOR_API void bp_rs0_destroy(bp_rs0 *learner) {
    if (learner) bpi_disown(&learner->owner, learner);
}

/* ---- networks over a shard's rows ------------------------------------------- */

typedef struct bpi_rs0_job {
    bp_rs0 *learner;
    const bp_batch *batch;
    double unmasked; /* rows of the batch that count */
    double alpha, entropy_cost;
} bpi_rs0_job;

/* The first T steps of a shard (skip 0: the rows "now"), or all T+1 without the distributions of the first (skip 1:
 * the rows "next"). latent [(T + skip)*Bs][.] or NULL. */
BPI_FN bp_unroll bpi_rs0_unroll(const bpi_rs0_job *job, const struct bpi_rs0_shard *sh, size_t skip, int state,
                                const bp_real *latent) {
    bp_unroll in;
    in.T = job->learner->config.length + skip;
    in.B = sh->count;
    in.observation = job->batch->observation;
    in.rows = sh->rows;
    in.latent = latent;
    in.state = sh->state[state];
    in.reset = sh->reset;
    in.skip = skip;
    in.detach = job->learner->config.burn_in;
    return in;
}

/* Policies of several tasks: with n_tasks > 1 each row belongs to one task's policy. Rows are sorted by task (stably, so the order is
 * a function of the batch alone), each group goes through its own parameters, and results go back to where
 * the rows came from. */

BPI_FN size_t bpi_rs0_task_of(const bp_rs0 *l, const bp_real *observation) {
    const bp_real *task = observation + l->spec.field[l->task.index[0]].offset;
    size_t k, best = 0;
    for (k = 1; k < l->config.n_tasks; k++)
        if (task[k] > task[best]) best = k;
    return best;
}

BPI_FN void bpi_rs0_group(const bp_rs0 *l, struct bpi_rs0_shard *sh, const bp_real *observation, const size_t *rows) {
    const size_t O = l->spec.observation_size;
    size_t task, i, filled = 0;
    for (task = 0; task < l->config.n_tasks; task++) {
        sh->group[task] = filled;
        for (i = 0; i < sh->n; i++) {
            if (bpi_rs0_task_of(l, observation + rows[i] * O) != task) continue;
            sh->order[filled] = i;
            sh->group_rows[filled++] = rows[i];
        }
    }
    sh->group[task] = filled;
}

/* Copy distributions between row order and a group's compact order. Both halves of a Gaussian batch. */
BPI_FN void bpi_rs0_move_dist(const bp_rs0 *l, bp_real *rows_dist, bp_real *group_dist, const size_t *order, size_t n,
                              size_t m, bool to_rows) {
    const size_t halves = l->policy.output == BP_OUTPUT_GAUSSIAN ? 2 : 1, width = l->policy.dist_size / halves;
    size_t h, i;
    for (h = 0; h < halves; h++) {
        for (i = 0; i < m; i++) {
            bp_real *row = rows_dist + (h * n + order[i]) * width, *compact = group_dist + (h * m + i) * width;
            if (to_rows) memcpy(row, compact, width * sizeof(bp_real));
            else memcpy(compact, row, width * sizeof(bp_real));
        }
    }
}

/* dist of the rows now (skip 0) or next (skip 1) under a policy's `params`, of two levels the low one's, at the latents
 * [.][Z] of all rows from t = 0; saved NULL: nothing is kept for the way back. */
BPI_FN void bpi_rs0_policy(const bpi_rs0_job *job, struct bpi_rs0_shard *sh, bp_real *dist, bp_real *saved, const bp_real *params,
                           const bp_real *latent, size_t skip) {
    const bp_rs0 *l = job->learner;
    const bp_compute *c = &sh->compute;
    const bp_real *observation = job->batch->observation;
    size_t task;
    if (l->config.n_tasks == 1) {
        const bp_unroll in = bpi_rs0_unroll(job, sh, skip, BPI_STATE_LOW, latent);
        params += bpi_rs0_low_at(l);
        if (saved) bp_policy_unroll_forward(c, dist, saved, &in, params, &l->policy);
        else bp_policy_unroll_eval(c, dist, NULL, sh->policy_work, &in, params, &l->policy);
        return;
    }
    bpi_rs0_group(l, sh, observation, sh->rows + skip * sh->count);
    for (task = 0; task < l->config.n_tasks; task++) {
        const size_t start = sh->group[task], m = sh->group[task + 1] - start;
        const bp_real *own = params + task * l->policy.n_params;
        if (m == 0) continue;
        if (saved) {
            bp_policy_forward(c, sh->group_dist, saved, observation, sh->group_rows + start, own, &l->policy, m);
            saved += bp_policy_saved_reals(&l->policy, m);
        } else
            bp_policy_eval(c, sh->group_dist, sh->policy_work, observation, sh->group_rows + start, own, &l->policy, m);
        bpi_rs0_move_dist(l, dist, sh->group_dist, sh->order + start, sh->n, m, true);
    }
}

/* The way back of the newest bpi_rs0_policy() that saved, for the rows now and the online parameters. With two levels dz
 * collects what reaches the latents; a frozen low level gets no gradient itself. */
BPI_FN void bpi_rs0_policy_backward(const bpi_rs0_job *job, struct bpi_rs0_shard *sh) {
    const bp_rs0 *l = job->learner;
    const bp_compute *c = &sh->compute;
    const bp_real *saved = sh->pi_saved;
    size_t task;
    if (l->config.n_tasks == 1) {
        const bp_unroll in = bpi_rs0_unroll(job, sh, 0, BPI_STATE_LOW, sh->z_policy);
        const bool frozen = bpi_rs0_shares_low(l) && l->config.prior_kind == BP_PRIOR_FIXED;
        bp_policy_unroll_backward(c, frozen ? NULL : sh->policy_grad + bpi_rs0_low_at(l), sh->dz, saved, sh->policy_work,
                                  sh->ddist, sh->pi, &in, l->policy_p.online + bpi_rs0_low_at(l), &l->policy);
        return;
    }
    bpi_rs0_group(l, sh, job->batch->observation, sh->rows); /* other calls have regrouped since */
    for (task = 0; task < l->config.n_tasks; task++) {
        const size_t start = sh->group[task], m = sh->group[task + 1] - start, at = task * l->policy.n_params;
        if (m == 0) continue;
        bpi_rs0_move_dist(l, sh->pi, sh->group_dist, sh->order + start, sh->n, m, false);
        bpi_rs0_move_dist(l, sh->ddist, sh->group_ddist, sh->order + start, sh->n, m, false);
        bp_policy_backward(c, sh->policy_grad + at, saved, sh->policy_work, sh->group_ddist, sh->group_dist,
                           l->policy_p.online + at, &l->policy, m);
        saved += bp_policy_saved_reals(&l->policy, m);
    }
}

/* ---- one shard of a step ---------------------------------------------------- */

/* u [U] = a stored or sampled action as the critic sees it: clipped to the box, or one-hot. */
BPI_FN void bpi_rs0_critic_action(bp_real *u, const bp_real *action, const bp_rs0 *l) {
    size_t k;
    if (l->policy.output == BP_OUTPUT_CATEGORICAL) {
        memset(u, 0, l->policy.n_choices * sizeof(bp_real));
        u[bpi_choice(action[0], l->policy.n_choices)] = BP_R(1);
        return;
    }
    for (k = 0; k < l->policy.action_size; k++)
        u[k] = action[k] < BP_R(-1) ? BP_R(-1) : action[k] > BP_R(1) ? BP_R(1)
                                                                     : action[k];
}

/* The S actions of row i at which the critics are asked: u [S][U]. noise [S][A] of that row. */
BPI_FN void bpi_rs0_sample_actions(bp_real *u, const bp_real *dist, const bp_real *noise, const bp_rs0 *l, size_t i,
                                   size_t n) {
    const size_t S = bpi_rs0_n_samples(l), A = l->policy.action_size;
    size_t s, k;
    if (l->policy.output == BP_OUTPUT_CATEGORICAL) {
        memset(u, 0, S * S * sizeof(bp_real));
        for (s = 0; s < S; s++) u[s * S + s] = BP_R(1);
        return;
    }
    for (s = 0; s < S; s++) {
        for (k = 0; k < A; k++) {
            const bp_real a = dist[i * A + k] + dist[(n + i) * A + k] * noise[s * A + k];
            u[s * A + k] = a < BP_R(-1) ? BP_R(-1) : a > BP_R(1) ? BP_R(1)
                                                                 : a;
        }
    }
}

/* kl [n] of `dist` to the prior's `dist0`, by kind (E8). NONE has none; for a uniform density on the box
 * [-1,1]^A the volume is 2^A and KL = -H + A log 2. */
BPI_FN void bpi_rs0_kl(bp_real *kl, const bp_rs0 *l, const bp_real *dist, const bp_real *dist0, size_t n) {
    const size_t A = l->policy.action_size;
    size_t i;
    if (!bpi_rs0_has_low_kl(l)) memset(kl, 0, n * sizeof(bp_real));
    else if (l->config.prior_kind == BP_PRIOR_UNIFORM && l->policy.output == BP_OUTPUT_GAUSSIAN)
        for (i = 0; i < n; i++)
            kl[i] = bp_gaussian_kl_uniform_box(dist + (n + i) * A, A, BP_R(A) * BP_R(0.69314718055994530942));
    else bp_policy_kl(kl, dist, dist0, &l->policy, n);
}

/* dist0 of the rows now or next: what the (low) prior says, in its target copy where it has one. */
BPI_FN void bpi_rs0_prior(const bpi_rs0_job *job, struct bpi_rs0_shard *sh, bp_real *dist0, bp_real *saved, const bp_real *latent,
                          size_t skip) {
    const bp_rs0 *l = job->learner;
    const bp_unroll in = bpi_rs0_unroll(job, sh, skip, BPI_STATE_PRIOR_LOW, latent);
    const bp_real *params = l->prior_p.target + (l->prior_p.n ? bpi_rs0_low_prior_at(l) : 0);
    if (!bpi_rs0_has_low_kl(l)) return;
    switch (l->config.prior_kind) {
    case BP_PRIOR_NONE: break;
    case BP_PRIOR_UNIFORM:
    case BP_PRIOR_ISOTROPIC: bp_policy_isotropic(dist0, l->config.prior_std, &l->policy, sh->n); break;
    case BP_PRIOR_PREVIOUS: bpi_rs0_policy(job, sh, dist0, NULL, l->policy_p.target, latent, skip); break;
    case BP_PRIOR_LEARNED:
    case BP_PRIOR_FIXED:
        if (saved) bp_policy_unroll_forward(&sh->compute, dist0, saved, &in, params, &l->prior);
        else bp_policy_unroll_eval(&sh->compute, dist0, NULL, sh->policy_work, &in, params, &l->prior);
        break;
    }
}

/* 0. What was remembered before the first row, where episodes begin, and in which rows z is drawn. The row after a boundary
 *    row (mask 0) is the first of its episode. */
BPI_FN void bpi_rs0_marks(const bpi_rs0_job *job, struct bpi_rs0_shard *sh) {
    const bp_rs0 *l = job->learner;
    const bp_batch *batch = job->batch;
    const size_t Bs = sh->count, both = sh->n + Bs, Z = l->latent.size;
    size_t i, j;
    int part;
    for (part = 0; part < BPI_STATES; part++) {
        const size_t size = bpi_rs0_state_part(l, part), at = bpi_rs0_state_at(l, part);
        const bool keep = part == BPI_STATE_Z || l->config.memory_start == BP_MEMORY_STORED;
        if (size == 0) continue;
        for (j = 0; j < Bs; j++) {
            if (keep) memcpy(sh->state[part] + j * size, batch->state + (sh->first_sequence + j) * batch->state_size + at, size * sizeof(bp_real));
            else memset(sh->state[part] + j * size, 0, size * sizeof(bp_real));
        }
    }
    if (sh->reset)
        for (i = 0; i < both; i++) sh->reset[i] = i >= Bs && !(sh->mask[i - Bs] > BP_R(0)) ? BP_R(1) : BP_R(0);
    if (Z == 0) return;
    for (j = 0; j < Bs; j++) {
        double age = (double)sh->state[BPI_STATE_Z][j * (Z + 1) + Z];
        for (i = j; i < both; i += Bs) {
            bool due;
            if (i >= Bs && !(sh->mask[i - Bs] > BP_R(0))) age = 0.0;
            due = bp_latent_due(&l->latent, age);
            sh->first[i] = age < 1.0 ? BP_R(1) : BP_R(0);
            sh->drawn[i] = due ? BP_R(1) : BP_R(0);
            age = due ? 1.0 : age + 1.0;
        }
    }
    if (!bpi_rs0_joint(l)) return;
    memset(sh->z_stored, 0, both * Z * sizeof(bp_real));
    for (i = 0; i < sh->n; i++) memcpy(sh->z_stored + i * Z, batch->latent + sh->rows[i] * Z, Z * sizeof(bp_real));
}

/* z of `rows` rows from t = 0: drawn from `high` [2][rows][Z] with the noise [.][B][Z], or held; `before` is each row's z_{t-1}.
 * What is held is the z of the row before, with the joint ratio the one that was acted on there. */
BPI_FN void bpi_rs0_latents(const bpi_rs0_job *job, const struct bpi_rs0_shard *sh, bp_real *z, bp_real *before,
                            const bp_real *high, const bp_real *noise, size_t rows) {
    const bp_rs0 *l = job->learner;
    const size_t Bs = sh->count, B = l->config.batch, Z = l->latent.size;
    size_t i, k;
    for (i = 0; i < rows; i++) {
        const bp_real *held = i < Bs ? sh->state[BPI_STATE_Z] + i * (Z + 1) : (bpi_rs0_joint(l) ? sh->z_stored : z) + (i - Bs) * Z;
        const bp_real *eps = noise + ((i / Bs) * B + sh->first_sequence + i % Bs) * Z;
        const bool first = sh->first[i] > BP_R(0), drawn = sh->drawn[i] > BP_R(0);
        for (k = 0; k < Z; k++) {
            const bp_real last = first ? BP_R(0) : held[k];
            before[i * Z + k] = last;
            z[i * Z + k] = drawn ? high[i * Z + k] + high[(rows + i) * Z + k] * eps[k] : last;
        }
    }
}

/* dist0 [2][n][Z] of the high-level prior in the rows now or next (E29), given each row's z before. params: its target or online copy. */
BPI_FN void bpi_rs0_high_prior(const bpi_rs0_job *job, struct bpi_rs0_shard *sh, bp_real *dist0, bp_real *saved,
                               const bp_real *params, const bp_real *before, size_t skip) {
    const bp_rs0 *l = job->learner;
    const size_t Z = l->latent.size, from = skip * sh->count;
    const bp_unroll in = bpi_rs0_unroll(job, sh, skip, BPI_STATE_PRIOR_HIGH, before);
    if (!bpi_rs0_has_high_kl(l)) return;
    switch (l->config.latent.prior_kind) {
    case BP_HIGH_ISOTROPIC: bpi_latent_isotropic(dist0, sh->n, Z); break;
    case BP_HIGH_AR1: bpi_latent_ar1(dist0, l->latent.phi, before + from * Z, sh->first + from, sh->n, Z); break;
    case BP_HIGH_LEARNED:
    case BP_HIGH_AUTOREGRESSIVE:
        if (saved) bp_policy_unroll_forward(&sh->compute, dist0, saved, &in, params, &l->high_prior);
        else bp_policy_unroll_eval(&sh->compute, dist0, NULL, sh->policy_work, &in, params, &l->high_prior);
        break;
    }
}

/* kl [n] += KL of the high levels where z is drawn in the rows now (skip 0) or next (E27). Where it is held nothing is decided. */
BPI_FN void bpi_rs0_add_high_kl(bp_real *kl, const bp_rs0 *l, const struct bpi_rs0_shard *sh, const bp_real *high,
                                const bp_real *high0, size_t skip) {
    const size_t n = sh->n, Z = l->latent.size;
    const bp_real *drawn = sh->drawn + skip * sh->count;
    size_t i;
    if (!bpi_rs0_has_high_kl(l)) return;
    for (i = 0; i < n; i++) {
        if (!(drawn[i] > BP_R(0))) continue;
        kl[i] += bp_gaussian_kl(high + i * Z, high + (n + i) * Z, high0 + i * Z, high0 + (n + i) * Z, Z);
    }
}

/* 1. distributions on all rows, from the high level down */
BPI_FN void bpi_rs0_distributions(const bpi_rs0_job *job, struct bpi_rs0_shard *sh) {
    const bp_rs0 *l = job->learner;
    const bp_compute *c = &sh->compute;
    const size_t Bs = sh->count, n = sh->n, Z = l->latent.size;
    const bool learns = l->config.prior_kind == BP_PRIOR_LEARNED;
    const bp_real *source[2];
    source[BP_SOURCE_TARGET] = l->policy_p.target;
    source[BP_SOURCE_ONLINE] = l->policy_p.online;
    if (Z) {
        bp_unroll all = bpi_rs0_unroll(job, sh, 1, BPI_STATE_HIGH, NULL), now = bpi_rs0_unroll(job, sh, 0, BPI_STATE_HIGH, NULL);
        if (l->config.kl_source != l->config.value_source)
            bp_policy_unroll_eval(c, sh->high_kl, NULL, sh->policy_work, &all, source[l->config.kl_source], &l->high);
        all.skip = 0; /* z_0 is wanted, too: by the critic, and where z is held */
        bp_policy_unroll_eval(c, sh->high_value, NULL, sh->policy_work, &all, source[l->config.value_source], &l->high);
        if (l->config.kl_source == l->config.value_source) { /* its rows t = 1..T */
            memcpy(sh->high_kl, sh->high_value + Bs * Z, n * Z * sizeof(bp_real));
            memcpy(sh->high_kl + n * Z, sh->high_value + (n + 2 * Bs) * Z, n * Z * sizeof(bp_real));
        }
        bpi_rs0_latents(job, sh, sh->z_value, sh->z_value_before, sh->high_value, l->target_latent_noise, n + Bs);
        bp_policy_unroll_forward(c, sh->high, sh->high_saved, &now, l->policy_p.online, &l->high);
        bpi_rs0_latents(job, sh, sh->z_policy, sh->z_policy_before, sh->high, l->policy_latent_noise, n);
        bpi_rs0_high_prior(job, sh, sh->high0_next, NULL, l->prior_p.target, sh->z_value_before, 1);
        bpi_rs0_high_prior(job, sh, sh->high0_now, NULL, l->prior_p.target, sh->z_policy_before, 0);
        if (learns && bpi_rs0_has_high_prior(l))
            bpi_rs0_high_prior(job, sh, sh->high0, sh->high0_saved, l->prior_p.online, sh->z_policy_before, 0);
        if (bpi_rs0_joint(l)) bpi_rs0_policy(job, sh, sh->low_stored, NULL, source[l->config.value_source], sh->z_stored, 1);
    }
    bpi_rs0_policy(job, sh, sh->pi_value, NULL, source[l->config.value_source], sh->z_value, 1);
    if (sh->pi_kl != sh->pi_value) bpi_rs0_policy(job, sh, sh->pi_kl, NULL, source[l->config.kl_source], sh->z_value, 1);
    bpi_rs0_prior(job, sh, sh->prior_next, NULL, sh->z_value, 1);
    bpi_rs0_prior(job, sh, sh->prior_now, sh->prior_now_saved, sh->z_policy, 0);
    bpi_rs0_policy(job, sh, sh->pi, sh->pi_saved, l->policy_p.online, sh->z_policy, 0);
    if (learns && bpi_rs0_has_low_prior(l)) {
        const bp_unroll in = bpi_rs0_unroll(job, sh, 0, BPI_STATE_PRIOR_LOW, sh->z_policy);
        bp_policy_unroll_forward(c, sh->pi0, sh->pi0_saved, &in, l->prior_p.online + bpi_rs0_low_prior_at(l), &l->prior);
    }
}

/* What the critics remember in every row: the target copies for t = 0..T, the online ones for t = 0..T-1 and for the way back. */
BPI_FN void bpi_rs0_critic_memory(const bpi_rs0_job *job, struct bpi_rs0_shard *sh) {
    const bp_rs0 *l = job->learner;
    const bp_rnn *rnn = &l->critic_rnn;
    const size_t T = l->config.length, Bs = sh->count;
    size_t k;
    if (rnn->units == 0) return;
    bp_field_gather(sh->fields, job->batch->observation, &l->critic_fields, l->spec.observation_size, sh->n + Bs, sh->rows);
    for (k = 0; k < bpi_rs0_n_critics(l); k++) {
        const size_t at = k * bpi_rs0_critic_size(l) + l->critic.n_params;
        const bp_real *state = sh->state[BPI_STATE_CRITIC + (int)k];
        bp_rnn_eval(&sh->compute, sh->h_target[k], NULL, sh->policy_work, sh->fields, NULL, state, sh->reset,
                    l->critic_p.target + at, rnn, T + 1, Bs);
        bp_rnn_forward(&sh->compute, sh->h[k], sh->h_saved[k], sh->policy_work, sh->fields, NULL, state, sh->reset,
                       l->critic_p.online + at, rnn, T, Bs);
    }
}

/* x [m][X] of rows row .. row+m-1 as critic k sees them: fields, z if it may, h if it remembers.
 * z [.][Z] and h [.][H] begin at t = 0. Without memory it is the same for both critics: built for the first. */
BPI_FN void bpi_rs0_critic_x(const bpi_rs0_job *job, struct bpi_rs0_shard *sh, size_t row, size_t m, const bp_real *z,
                             const bp_real *h, size_t k) {
    const bp_rs0 *l = job->learner;
    const size_t F = l->critic_fields.size, X = l->critic.config.input, H = l->critic_rnn.units, Z = X - F - H;
    const size_t O = l->spec.observation_size;
    size_t i;
    if (k > 0 && H == 0) return;
    if (X == F) {
        bp_field_gather(sh->x, job->batch->observation, &l->critic_fields, O, m, sh->rows + row);
        return;
    }
    bp_field_gather(sh->fields, job->batch->observation, &l->critic_fields, O, m, sh->rows + row);
    for (i = 0; i < m; i++) {
        bp_real *x = sh->x + i * X;
        memcpy(x, sh->fields + i * F, F * sizeof(bp_real));
        if (Z) memcpy(x + F, z + (row + i) * Z, Z * sizeof(bp_real));
        if (H) memcpy(x + F + Z, h + (row + i) * H, H * sizeof(bp_real));
    }
}

/* out[0][rows] = the smaller of the target critics' answers; which[.] keeps every critic's own. */
BPI_FN void bpi_rs0_believe(bp_real *smallest, const bp_rs0 *l, struct bpi_rs0_shard *sh, size_t m) {
    size_t i;
    const bp_real *a = sh->critic_out[0], *b = sh->critic_out[1];
    for (i = 0; i < m; i++) smallest[i] = l->config.twin_critics && b[i] < a[i] ? b[i] : a[i];
}

/* 2. V_t = E_pi'[Q'] - alpha KL for t = 1..T, and Q' of the stored actions for the correction term: the
 *    stored action rides along as one more sample of its state, so the state's part is computed once.
 *    (Categorical: it is one of the K already.) */
BPI_FN void bpi_rs0_values(const bpi_rs0_job *job, struct bpi_rs0_shard *sh) {
    const bp_rs0 *l = job->learner;
    const bool categorical = l->policy.output == BP_OUTPUT_CATEGORICAL;
    const size_t Bs = sh->count, n = sh->n, A = l->policy.action_size, U = l->critic.config.extra;
    const size_t S = bpi_rs0_n_samples(l), S1 = categorical ? S : S + 1, B = l->config.batch;
    const size_t R = bpi_rs0_chunk(l);
    bp_real *smallest = sh->critic_dout; /* free until the gradients */
    size_t start, i, s, k;
    bpi_rs0_kl(sh->row_a, l, sh->pi_kl, sh->prior_next, n);
    bpi_rs0_add_high_kl(sh->row_a, l, sh, sh->high_kl, sh->high0_next, 1);
    for (start = 0; start < n; start += R) {
        const size_t m = bpi_min_size(R, n - start);
        for (i = 0; i < m; i++) {
            const size_t row = start + i, stored = row + Bs; /* row 0 is t = 1 */
            const size_t t = stored / Bs, b = sh->first_sequence + stored % Bs;
            bp_real *u = sh->u + i * S1 * U;
            bpi_rs0_sample_actions(u, sh->pi_value, l->target_noise + (t * B + b) * S * A, l, row, n);
            if (categorical) continue;
            if (t < l->config.length) bpi_rs0_critic_action(u + S * U, sh->action + stored * A, l);
            else memset(u + S * U, 0, U * sizeof(bp_real)); /* x_T has no stored action */
        }
        for (k = 0; k < bpi_rs0_n_critics(l); k++) {
            bpi_rs0_critic_x(job, sh, Bs + start, m, sh->z_value, sh->h_target[k], k);
            bp_mlp_eval(&sh->compute, sh->critic_out[k], sh->critic_work, sh->x, sh->u,
                        l->critic_p.target + k * bpi_rs0_critic_size(l), &l->critic, m, S1);
        }
        bpi_rs0_believe(smallest, l, sh, m * S1);
        for (i = 0; i < m; i++) {
            const size_t row = start + i, stored = row + Bs;
            const bp_real *q = smallest + i * S1;
            bp_real v = BP_R(0);
            if (categorical) {
                const bp_real *logits = sh->pi_value + row * S;
                for (s = 0; s < S; s++) v += bp_exp(bp_categorical_log_prob(logits, s, S)) * q[s];
            } else {
                for (s = 0; s < S; s++) v += q[s];
                v /= BP_R(S);
            }
            sh->value[stored] = v - BP_R(job->alpha) * sh->row_a[row];
            if (stored < n) sh->target_q[stored] = q[categorical ? bpi_choice(sh->action[stored * A], S) : S];
        }
    }
}

/* The joint ratio asks for Q' of the stored action at the stored z, which is not the z of V_t: a pass of its own. */
BPI_FN void bpi_rs0_stored_values(const bpi_rs0_job *job, struct bpi_rs0_shard *sh) {
    const bp_rs0 *l = job->learner;
    const size_t n = sh->n, A = l->policy.action_size, U = l->critic.config.extra;
    size_t start, i, k;
    if (!bpi_rs0_joint(l)) return;
    for (start = sh->count; start < n; start += BPI_RS0_CHUNK) {
        const size_t m = bpi_min_size(BPI_RS0_CHUNK, n - start);
        for (i = 0; i < m; i++) bpi_rs0_critic_action(sh->u + i * U, sh->action + (start + i) * A, l);
        for (k = 0; k < bpi_rs0_n_critics(l); k++) {
            bpi_rs0_critic_x(job, sh, start, m, sh->z_stored, sh->h_target[k], k);
            bp_mlp_eval(&sh->compute, sh->critic_out[k], sh->critic_work, sh->x, sh->u,
                        l->critic_p.target + k * bpi_rs0_critic_size(l), &l->critic, m, 1);
        }
        bpi_rs0_believe(sh->target_q + start, l, sh, m);
    }
}

/* 3. traces and targets. log pi of row t >= 1 comes from pi_value, whose row 0 is t = 1. */
BPI_FN void bpi_rs0_targets(const bpi_rs0_job *job, struct bpi_rs0_shard *sh) {
    const bp_rs0 *l = job->learner;
    const size_t T = l->config.length, Bs = sh->count, n = sh->n, A = l->policy.action_size;
    size_t i;
    for (i = Bs; i < n; i++) { /* pi_value's row i - Bs */
        const bp_real *dist = bpi_rs0_joint(l) ? sh->low_stored : sh->pi_value;
        if (l->policy.output == BP_OUTPUT_CATEGORICAL) {
            const size_t K = l->policy.n_choices;
            sh->log_pi[i] = bp_categorical_log_prob(dist + (i - Bs) * K, bpi_choice(sh->action[i * A], K), K);
        } else
            sh->log_pi[i] = bp_gaussian_log_prob(sh->action + i * A, dist + (i - Bs) * A, dist + (n + i - Bs) * A, A);
    }
    if (bpi_rs0_joint(l)) { /* log pi(z,a) = log pi^L(a|z) + log pi^H(z), the latter where z was drawn */
        const size_t Z = l->latent.size;
        for (i = Bs; i < n; i++)
            if (sh->drawn[i] > BP_R(0))
                sh->log_pi[i] += bp_gaussian_log_prob(sh->z_stored + i * Z, sh->high_value + i * Z, sh->high_value + (n + Bs + i) * Z, Z);
    }
    memset(sh->trace, 0, Bs * sizeof(bp_real)); /* c_0 does not exist */
    bp_retrace_trace(sh->trace + Bs, sh->log_pi + Bs, sh->log_mu + Bs, sh->mask + Bs, l->config.lambda, T - 1, Bs);
    bp_retrace(sh->target, sh->reward, sh->discount, sh->value, sh->target_q, sh->trace, T, Bs);
}

/* 4. critic: L = sum_i weight_i 1/2 (q_i - target_i)^2, so dL/dq_i = weight_i (q_i - target_i) */
BPI_FN void bpi_rs0_critic_loss(const bpi_rs0_job *job, struct bpi_rs0_shard *sh) {
    bp_rs0 *l = job->learner;
    const size_t n = sh->n, A = l->policy.action_size, U = l->critic.config.extra, T = l->config.length;
    const size_t B = l->config.batch, Bs = sh->count, X = l->critic.config.input, H = l->critic_rnn.units;
    const bp_real *z = bpi_rs0_joint(l) ? sh->z_stored : sh->z_value;
    size_t start, i, k;
    for (start = 0; start < n; start += BPI_RS0_CHUNK) {
        const size_t m = bpi_min_size(BPI_RS0_CHUNK, n - start);
        for (i = 0; i < m; i++) bpi_rs0_critic_action(sh->u + i * U, sh->action + (start + i) * A, l);
        for (k = 0; k < bpi_rs0_n_critics(l); k++) {
            const bp_real *params = l->critic_p.online + k * bpi_rs0_critic_size(l);
            bp_real *q = sh->critic_out[k];
            bpi_rs0_critic_x(job, sh, start, m, z, sh->h[k], k);
            bp_mlp_forward(&sh->compute, q, sh->critic_saved[k], sh->x, sh->u, params, &l->critic, m, 1);
            for (i = 0; i < m; i++) {
                const size_t row = start + i, t = row / Bs, b = sh->first_sequence + row % Bs;
                const bp_real w = sh->weight[row];
                const bp_real td = w > BP_R(0) ? q[i] - sh->target[row] : BP_R(0);
                sh->critic_dout[i] = w * td;
                l->q[(k * T + t) * B + b] = q[i];
                if (!(w > BP_R(0))) continue;
                sh->sums.critic_loss += 0.5 * (double)w * (double)td * (double)td;
                if (k > 0) continue;
                sh->sums.td_abs += (double)w * (td < BP_R(0) ? -(double)td : (double)td);
                sh->sums.q += (double)w * (double)q[i];
                sh->sums.q_square += (double)w * (double)q[i] * (double)q[i];
                sh->sums.target += (double)w * (double)sh->target[row];
            }
            if (H) memset(sh->dx, 0, m * X * sizeof(bp_real));
            bp_mlp_backward(&sh->compute, sh->critic_grad + k * bpi_rs0_critic_size(l), H ? sh->dx : NULL, NULL,
                            sh->critic_saved[k], sh->critic_work, sh->critic_dout, sh->x, sh->u, params, &l->critic, m, 1);
            for (i = 0; H && i < m; i++) /* h is the end of x */
                memcpy(sh->dh[k] + (start + i) * H, sh->dx + i * X + X - H, H * sizeof(bp_real));
        }
    }
    if (H == 0) return;
    bp_field_gather(sh->fields, job->batch->observation, &l->critic_fields, l->spec.observation_size, n, sh->rows);
    for (k = 0; k < bpi_rs0_n_critics(l); k++) {
        const size_t at = k * bpi_rs0_critic_size(l) + l->critic.n_params;
        bp_rnn_backward(&sh->compute, sh->critic_grad + at, NULL, NULL, sh->h_saved[k], sh->policy_work, sh->dh[k], sh->fields,
                        NULL, sh->reset, l->critic_p.online + at, &l->critic_rnn, l->config.burn_in, T, Bs);
    }
}

/* The way from the latents into the high level (E30). dz holds what the low level passed back; row_a is dL/dKL.
 *      z = mean + std eps  where it is drawn:  dmean += dz, dstd += dz eps
 *      z = z_{t-1}         where it is held:   dz_{t-1} += dz   (a z that was acted on is data: nothing)
 *    The low-level prior's KL depends on z as well: that part comes through the target prior. */
BPI_FN void bpi_rs0_high_backward(const bpi_rs0_job *job, struct bpi_rs0_shard *sh) {
    const bp_rs0 *l = job->learner;
    const size_t n = sh->n, Bs = sh->count, B = l->config.batch, Z = l->latent.size;
    const size_t free_from = (l->config.burn_in + 1) * Bs; /* rows whose predecessor is not burn-in */
    const bp_unroll in = bpi_rs0_unroll(job, sh, 0, BPI_STATE_HIGH, NULL);
    size_t i, k;
    if (sh->dprior_now) {
        const bp_unroll low = bpi_rs0_unroll(job, sh, 0, BPI_STATE_PRIOR_LOW, sh->z_policy);
        bp_policy_unroll_backward(&sh->compute, NULL, sh->dz, sh->prior_now_saved, sh->policy_work, sh->dprior_now, sh->prior_now,
                                  &low, l->prior_p.target + bpi_rs0_low_prior_at(l), &l->prior);
    }
    for (i = n; i-- > free_from;) {
        if (sh->drawn[i] > BP_R(0) || bpi_rs0_joint(l)) continue;
        for (k = 0; k < Z; k++) sh->dz[(i - Bs) * Z + k] += sh->dz[i * Z + k];
    }
    memset(sh->dhigh, 0, 2 * n * Z * sizeof(bp_real));
    for (i = 0; i < n; i++) {
        const bp_real *eps = l->policy_latent_noise + ((i / Bs) * B + sh->first_sequence + i % Bs) * Z;
        bp_real *dmean = sh->dhigh + i * Z, *dstd = sh->dhigh + (n + i) * Z;
        if (!(sh->drawn[i] > BP_R(0)) || i / Bs < l->config.burn_in) continue;
        bp_gaussian_sample_backward(dmean, dstd, sh->dz + i * Z, eps, Z);
        if (bpi_rs0_has_high_kl(l))
            bp_gaussian_kl_backward(dmean, dstd, NULL, NULL, sh->row_a[i], sh->high + i * Z, sh->high + (n + i) * Z,
                                    sh->high0_now + i * Z, sh->high0_now + (n + i) * Z, Z);
    }
    bp_policy_unroll_backward(&sh->compute, sh->policy_grad, NULL, sh->high_saved, sh->policy_work, sh->dhigh, sh->high, &in,
                              l->policy_p.online, &l->high);
}

/* 5. policy: L = sum_i weight_i ( -E[Q'] + alpha KL - c_H H ).
 *    Gaussian (E18): a = mean + std noise, so dL/dmean += dL/da and dL/dstd += dL/da * noise, with
 *    dL/da = -weight/S dQ'/da inside the box and 0 where the action was clipped.
 *    Categorical: E[Q'] = sum_k p_k Q'_k, so dL/dlogit_k = -weight p_k (Q'_k - E[Q']). */
BPI_FN void bpi_rs0_policy_loss(const bpi_rs0_job *job, struct bpi_rs0_shard *sh) {
    const bp_rs0 *l = job->learner;
    const bool categorical = l->policy.output == BP_OUTPUT_CATEGORICAL;
    const size_t n = sh->n, Bs = sh->count, A = l->policy.action_size, U = l->critic.config.extra;
    const size_t S = bpi_rs0_n_samples(l), R = bpi_rs0_chunk(l), B = l->config.batch, C = bpi_rs0_n_critics(l);
    size_t start, i, s, k;
    memset(sh->ddist, 0, n * l->policy.dist_size * sizeof(bp_real));

    for (start = 0; start < n; start += R) {
        const size_t m = bpi_min_size(R, n - start);
        for (i = 0; i < m; i++) {
            const size_t row = start + i, at = (row / Bs) * B + sh->first_sequence + row % Bs;
            bpi_rs0_sample_actions(sh->u + i * S * U, sh->pi, l->policy_noise + at * S * A, l, row, n);
        }
        for (k = 0; k < C; k++) {
            const bp_real *params = l->critic_p.target + k * bpi_rs0_critic_size(l);
            bpi_rs0_critic_x(job, sh, start, m, sh->z_policy, sh->h_target[k], k);
            if (categorical)
                bp_mlp_eval(&sh->compute, sh->critic_out[k], sh->critic_work, sh->x, sh->u, params, &l->critic, m, S);
            else
                bp_mlp_forward(&sh->compute, sh->critic_out[k], sh->critic_saved[k], sh->x, sh->u, params, &l->critic,
                               m, S);
        }
        if (categorical) {
            bpi_rs0_believe(sh->critic_dout, l, sh, m * S);
            for (i = 0; i < m; i++) {
                const size_t row = start + i;
                const bp_real *logits = sh->pi + row * S, *q = sh->critic_dout + i * S;
                const bp_real w = sh->weight[row];
                bp_real expected = BP_R(0);
                if (!(w > BP_R(0))) continue;
                for (s = 0; s < S; s++) expected += bp_exp(bp_categorical_log_prob(logits, s, S)) * q[s];
                for (s = 0; s < S; s++) {
                    const bp_real p = bp_exp(bp_categorical_log_prob(logits, s, S));
                    sh->ddist[row * S + s] -= w * p * (q[s] - expected);
                }
                sh->sums.policy_loss -= (double)w * (double)expected;
            }
            continue;
        }
        /* each sample's gradient goes through the critic that was believed */
        memset(sh->du, 0, m * S * U * sizeof(bp_real));
        for (k = 0; k < C; k++) {
            for (i = 0; i < m; i++) {
                const bp_real w = sh->weight[start + i];
                for (s = 0; s < S; s++) {
                    const size_t j = i * S + s;
                    const bool second = C == 2 && sh->critic_out[1][j] < sh->critic_out[0][j];
                    const bool mine = w > BP_R(0) && second == (k == 1);
                    sh->critic_dout[j] = mine ? -w / BP_R(S) : BP_R(0);
                    if (mine) sh->sums.policy_loss -= (double)w * (double)sh->critic_out[k][j] / (double)S;
                }
            }
            bp_mlp_backward_input(&sh->compute, NULL, sh->du, sh->critic_saved[k], sh->critic_work, sh->critic_dout,
                                  sh->x, sh->u, l->critic_p.target + k * bpi_rs0_critic_size(l), &l->critic, m, S);
        }
        for (i = 0; i < m; i++) {
            const size_t row = start + i, at = (row / Bs) * B + sh->first_sequence + row % Bs;
            const bp_real *noise = l->policy_noise + at * S * A;
            bp_real *dmean = sh->ddist + row * A, *dstd = sh->ddist + (n + row) * A;
            for (s = 0; s < S; s++) {
                for (k = 0; k < A; k++) {
                    const size_t j = (i * S + s) * A + k;
                    const bp_real a = sh->pi[row * A + k] + sh->pi[(n + row) * A + k] * noise[s * A + k];
                    const bp_real da = a >= BP_R(-1) && a <= BP_R(1) ? sh->du[j] : BP_R(0);
                    dmean[k] += da;
                    dstd[k] += da * noise[s * A + k];
                }
            }
        }
    }

    /* the penalties, in closed form. DeepMind's Acme estimates the entropy from samples and stops the gradient
     * at the sample; the expected gradient of that estimate is E[d log pi] = 0, so its bonus does nothing. */
    bpi_rs0_kl(sh->row_a, l, sh->pi, sh->prior_now, n);
    memset(sh->row_b, 0, n * sizeof(bp_real));
    bpi_rs0_add_high_kl(sh->row_b, l, sh, sh->high, sh->high0_now, 0);
    for (i = 0; i < n; i++) {
        if (sh->weight[i] > BP_R(0)) sh->sums.kl_high += (double)sh->weight[i] * (double)sh->row_b[i];
        sh->row_a[i] += sh->row_b[i];
    }
    bp_policy_entropy(sh->row_b, sh->pi, &l->policy, n);
    for (i = 0; i < n; i++) {
        const double w = (double)sh->weight[i];
        if (!(w > 0.0)) continue;
        sh->sums.kl += w * (double)sh->row_a[i];
        sh->sums.entropy += w * (double)sh->row_b[i];
        sh->sums.policy_loss += w * (job->alpha * (double)sh->row_a[i] - job->entropy_cost * (double)sh->row_b[i]);
    }
    for (i = 0; i < n; i++) {
        sh->row_a[i] = BP_R(job->alpha) * sh->weight[i];         /* dL/dKL */
        sh->row_b[i] = BP_R(-job->entropy_cost) * sh->weight[i]; /* dL/dH */
    }
    if (sh->dprior_now) memset(sh->dprior_now, 0, n * l->policy.dist_size * sizeof(bp_real));
    if (l->config.prior_kind == BP_PRIOR_UNIFORM && !categorical) {
        for (i = 0; i < n; i++) sh->row_b[i] -= sh->row_a[i]; /* KL = -H + constant */
    } else if (bpi_rs0_has_low_kl(l))
        bp_policy_kl_backward(sh->ddist, sh->dprior_now, sh->row_a, sh->pi, sh->prior_now, &l->policy, n);
    bp_policy_entropy_backward(sh->ddist, sh->row_b, sh->pi, &l->policy, n);
    if (bpi_rs0_has_levels(l)) memset(sh->dz, 0, n * l->latent.size * sizeof(bp_real));
    bpi_rs0_policy_backward(job, sh);
    if (bpi_rs0_has_levels(l)) bpi_rs0_high_backward(job, sh);
}

/* 6. prior: L = sum_i weight_i KL[pi || pi0], derivative by pi0 alone (E17); with two levels the sum of both levels' KL,
 *    derivative by both priors. */
BPI_FN void bpi_rs0_prior_loss(const bpi_rs0_job *job, struct bpi_rs0_shard *sh) {
    const bp_rs0 *l = job->learner;
    const size_t n = sh->n, Z = l->latent.size;
    size_t i;
    if (l->config.prior_kind != BP_PRIOR_LEARNED) return;
    memset(sh->row_a, 0, n * sizeof(bp_real));
    if (bpi_rs0_has_low_prior(l)) {
        const bp_unroll in = bpi_rs0_unroll(job, sh, 0, BPI_STATE_PRIOR_LOW, sh->z_policy);
        bp_policy_kl(sh->row_a, sh->pi, sh->pi0, &l->policy, n);
        memset(sh->ddist, 0, n * l->policy.dist_size * sizeof(bp_real));
        bp_policy_kl_backward(NULL, sh->ddist, sh->weight, sh->pi, sh->pi0, &l->policy, n);
        bp_policy_unroll_backward(&sh->compute, sh->prior_grad + bpi_rs0_low_prior_at(l), NULL, sh->pi0_saved, sh->policy_work,
                                  sh->ddist, sh->pi0, &in, l->prior_p.online + bpi_rs0_low_prior_at(l), &l->prior);
    }
    if (bpi_rs0_has_high_prior(l)) {
        const bp_unroll in = bpi_rs0_unroll(job, sh, 0, BPI_STATE_PRIOR_HIGH, sh->z_policy_before);
        memset(sh->dhigh, 0, 2 * n * Z * sizeof(bp_real));
        for (i = 0; i < n; i++)
            if (sh->drawn[i] > BP_R(0))
                bp_gaussian_kl_backward(NULL, NULL, sh->dhigh + i * Z, sh->dhigh + (n + i) * Z, sh->weight[i], sh->high + i * Z,
                                        sh->high + (n + i) * Z, sh->high0 + i * Z, sh->high0 + (n + i) * Z, Z);
        bp_policy_unroll_backward(&sh->compute, sh->prior_grad, NULL, sh->high0_saved, sh->policy_work, sh->dhigh, sh->high0,
                                  &in, l->prior_p.online, &l->high_prior);
    }
    bpi_rs0_add_high_kl(sh->row_a, l, sh, sh->high, bpi_rs0_has_high_prior(l) ? sh->high0 : sh->high0_now, 0);
    for (i = 0; i < n; i++)
        if (sh->weight[i] > BP_R(0)) sh->sums.prior_loss += (double)sh->weight[i] * (double)sh->row_a[i];
}

/* All of it: the unit of parallel work. Writes only to its own shard and to its own columns of the learner's
 * [T][B] arrays. */
BPI_FN void bpi_rs0_run_shard(void *context, size_t index, size_t worker) {
    const bpi_rs0_job *job = (const bpi_rs0_job *)context;
    bp_rs0 *l = job->learner;
    const bp_batch *batch = job->batch;
    struct bpi_rs0_shard *sh = &l->shard[index];
    const size_t T = l->config.length, B = l->config.batch, Bs = sh->count, n = sh->n, A = l->policy.action_size;
    size_t i;
    (void)worker;
    memset(&sh->sums, 0, sizeof sh->sums);
    memset(sh->policy_grad, 0, l->policy_p.n * sizeof(bp_real));
    memset(sh->critic_grad, 0, l->critic_p.n * sizeof(bp_real));
    if (l->prior_p.n) memset(sh->prior_grad, 0, l->prior_p.n * sizeof(bp_real));
    for (i = 0; i < n + Bs; i++) {
        const size_t from = (i / Bs) * B + sh->first_sequence + i % Bs;
        sh->rows[i] = from;
        if (i >= n) continue;
        sh->reward[i] = batch->reward[from];
        sh->discount[i] = BP_R(l->config.discount) * batch->discount[from];
        sh->mask[i] = batch->mask[from];
        sh->log_mu[i] = batch->log_mu[from];
        sh->weight[i] = batch->mask[from] > BP_R(0) && i / Bs >= l->config.burn_in ? BP_R(1.0 / job->unmasked) : BP_R(0);
        memcpy(sh->action + i * A, batch->action + from * A, A * sizeof(bp_real));
    }

    bpi_rs0_marks(job, sh);
    bpi_rs0_distributions(job, sh);
    bpi_rs0_critic_memory(job, sh);
    bpi_rs0_values(job, sh);
    bpi_rs0_stored_values(job, sh);
    bpi_rs0_targets(job, sh);
    bpi_rs0_critic_loss(job, sh);
    bpi_rs0_policy_loss(job, sh);
    bpi_rs0_prior_loss(job, sh);

    for (i = 0; i < n; i++) {
        const size_t to = (i / Bs) * B + sh->first_sequence + i % Bs;
        l->value[to + B] = sh->value[i + Bs];
        l->trace[to] = sh->trace[i];
        l->retrace[to] = sh->target[i];
        l->discount[to] = sh->discount[i];
        if (!(sh->weight[i] > BP_R(0))) continue;
        sh->sums.value += (double)sh->weight[i] * (double)sh->value[i + Bs];
        if (i >= Bs) {
            sh->sums.trace += (double)sh->trace[i];
            sh->sums.trace_rows += 1.0;
        }
    }
    if (l->policy.output == BP_OUTPUT_GAUSSIAN) {
        for (i = 0; i < n * A; i++)
            if (sh->weight[i / A] > BP_R(0)) sh->sums.std += (double)sh->weight[i / A] * (double)sh->pi[n * A + i] / (double)A;
    }
    (void)T;
}

/* ---- a whole step ------------------------------------------------------------ */

BPI_FN double bpi_rs0_alpha(const bp_rs0 *l) {
    return l->config.alpha_mode == BP_WEIGHT_ADAPTED ? bp_dual_value(&l->alpha_dual)
                                                     : bp_schedule_at(&l->config.alpha, l->steps);
}

BPI_FN double bpi_rs0_entropy_cost(const bp_rs0 *l) {
    return l->config.entropy_mode == BP_WEIGHT_ADAPTED ? bp_dual_value(&l->entropy_dual)
                                                       : bp_schedule_at(&l->config.entropy_cost, l->steps);
}

/* grad = sum of the shards' parts, in shard order whatever thread computed them. Returns its norm. */
BPI_FN double bpi_rs0_add_up(const bp_rs0 *l, bp_learned *p, size_t part_offset) {
    size_t i;
    if (p->n == 0) return 0.0;
    for (i = 0; i < l->config.shards; i++) {
        bp_real *part = *(bp_real *const *)(const void *)((const char *)&l->shard[i] + part_offset);
        if (i == 0) memcpy(p->grad, part, p->n * sizeof(bp_real));
        else bp_vec_axpy(&l->shard[0].compute, p->grad, BP_R(1), part, p->n);
    }
    return bp_global_norm(&l->shard[0].compute, p->grad, p->n);
}

BPRIOR_API bp_status bp_rs0_gradients(bp_rs0 *l, const bp_batch *batch, bp_team *team, bp_error *error) {
    const size_t T = l->config.length, B = l->config.batch;
    bp_rs0_metrics *m = &l->metrics;
    bpi_rs0_job job;
    double unmasked = 0.0, trace_rows = 0.0;
    size_t i;
    if (batch->state_size != l->state_size || batch->latent_size != (bpi_rs0_joint(l) ? l->latent.size : 0))
        return bpi_fail(error, BP_ERR_SIZE,
                        "learner: batch has %lu numbers of state and latents of %lu, expected %lu and %lu (bp_rs0_replay_config() says)",
                        (unsigned long)batch->state_size, (unsigned long)batch->latent_size, (unsigned long)l->state_size,
                        (unsigned long)(bpi_rs0_joint(l) ? l->latent.size : 0));
    if (batch->length != T || batch->batch != B || batch->observation_size != l->spec.observation_size ||
        batch->action_size != l->spec.action_size)
        return bpi_fail(error, BP_ERR_SIZE,
                        "learner: batch is %lu x %lu rows of %lu observations and %lu actions, expected %lu x %lu, %lu, "
                        "%lu",
                        (unsigned long)batch->length, (unsigned long)batch->batch,
                        (unsigned long)batch->observation_size, (unsigned long)batch->action_size, (unsigned long)T,
                        (unsigned long)B, (unsigned long)l->spec.observation_size, (unsigned long)l->spec.action_size);
    for (i = l->config.burn_in * B; i < T * B; i++)
        if (batch->mask[i] > BP_R(0)) unmasked += 1.0;
    job.learner = l;
    job.batch = batch;
    job.unmasked = unmasked > 0.0 ? unmasked : 1.0;
    job.alpha = bpi_rs0_alpha(l);
    job.entropy_cost = bpi_rs0_entropy_cost(l);
    bp_team_run(team, bpi_rs0_run_shard, &job, l->config.shards);

    memset(m, 0, sizeof *m);
    m->alpha = job.alpha;
    m->entropy_cost = job.entropy_cost;
    for (i = 0; i < l->config.shards; i++) {
        const bpi_rs0_sums *s = &l->shard[i].sums;
        m->critic_loss += s->critic_loss;
        m->policy_loss += s->policy_loss;
        m->prior_loss += s->prior_loss;
        m->kl += s->kl;
        m->kl_high += s->kl_high;
        m->entropy += s->entropy;
        m->q_mean += s->q;
        m->q_std += s->q_square;
        m->target_mean += s->target;
        m->td_abs += s->td_abs;
        m->value_mean += s->value;
        m->trace_mean += s->trace;
        m->policy_std += s->std;
        trace_rows += s->trace_rows;
    }
    m->q_std = m->q_std - m->q_mean * m->q_mean;
    m->q_std = m->q_std > 0.0 ? sqrt(m->q_std) : 0.0;
    if (trace_rows > 0.0) m->trace_mean /= trace_rows;
    m->critic_grad_norm = bpi_rs0_add_up(l, &l->critic_p, offsetof(struct bpi_rs0_shard, critic_grad));
    m->policy_grad_norm = bpi_rs0_add_up(l, &l->policy_p, offsetof(struct bpi_rs0_shard, policy_grad));
    m->prior_grad_norm = bpi_rs0_add_up(l, &l->prior_p, offsetof(struct bpi_rs0_shard, prior_grad));

    /* Adam squares the gradient in bp_real: what would overflow there is as bad as an infinity here */
    for (i = 0; i < bp_rs0_metric_count(); i++) {
        const bool norm = i >= offsetof(bp_rs0_metrics, critic_grad_norm) / sizeof(double);
        if (bpi_finite_d(bp_rs0_metric_value(m, i)) && !(norm && bp_rs0_metric_value(m, i) > BPI_RS0_LARGEST_GRADIENT))
            continue;
        return bpi_fail(error, BP_ERR_NONFINITE, "learner: %s is not finite or too large at step %lu; the step was not taken",
                        bp_rs0_metric_name(i), (unsigned long)(l->steps + 1));
    }
    return bpi_ok(error);
}

BPI_FN void bpi_rs0_descend(bp_rs0 *l, bp_learned *p, const bp_adam_config *adam, double norm) {
    if (p->n == 0) return;
    bp_adam_step(p->online, p->m, p->v, p->grad, p->n, adam, l->steps, 1.0, bp_clip_scale(norm, adam->clip_norm));
}

BPI_FN void bpi_rs0_follow(const bp_rs0 *l, bp_learned *p) {
    if (p->n == 0) return;
    if (l->config.tau > 0.0) bp_polyak(p->target, p->online, p->n, l->config.tau);
    else if (l->steps % l->config.target_period == 0) memcpy(p->target, p->online, p->n * sizeof(bp_real));
}

BPRIOR_API bp_status bp_rs0_step_with_noise(bp_rs0 *l, const bp_batch *batch, bp_team *team, bp_error *error) {
    bp_status status = bp_rs0_gradients(l, batch, team, error);
    if (status == BP_ERR_NONFINITE) l->rejected++;
    if (status != BP_OK) return status;
    l->steps++;
    bpi_rs0_descend(l, &l->critic_p, &l->config.critic_adam, l->metrics.critic_grad_norm);
    bpi_rs0_descend(l, &l->policy_p, &l->config.policy_adam, l->metrics.policy_grad_norm);
    if (l->config.prior_kind == BP_PRIOR_LEARNED)
        bpi_rs0_descend(l, &l->prior_p, &l->config.prior_adam, l->metrics.prior_grad_norm);
    if (l->config.alpha_mode == BP_WEIGHT_ADAPTED) bp_dual_update(&l->alpha_dual, l->metrics.kl);
    if (l->config.entropy_mode == BP_WEIGHT_ADAPTED) bp_dual_update(&l->entropy_dual, -l->metrics.entropy);
    bpi_rs0_follow(l, &l->critic_p);
    bpi_rs0_follow(l, &l->policy_p);
    if (l->config.prior_kind == BP_PRIOR_LEARNED) bpi_rs0_follow(l, &l->prior_p);
    return BP_OK;
}

BPRIOR_API bp_status bp_rs0_step(bp_rs0 *l, const bp_batch *batch, bp_rng *rng, bp_team *team, bp_error *error) {
    const size_t latents = l->config.batch * l->latent.size;
    if (latents) {
        bp_rng_normals(l->target_latent_noise, rng, (l->config.length + 1) * latents);
        bp_rng_normals(l->policy_latent_noise, rng, l->config.length * latents);
    }
    if (l->policy.output == BP_OUTPUT_GAUSSIAN) {
        const size_t per_step = l->config.batch * l->config.samples * l->policy.action_size;
        bp_rng_normals(l->target_noise + per_step, rng, l->config.length * per_step);
        bp_rng_normals(l->policy_noise, rng, l->config.length * per_step);
    }
    return bp_rs0_step_with_noise(l, batch, team, error);
}

BPRIOR_API uint64_t bp_rs0_macs(const bp_rs0 *l) {
    const size_t n = l->config.length * l->config.batch, S = bpi_rs0_n_samples(l);
    const size_t T = l->config.length, B = l->config.batch;
    const bool categorical = l->policy.output == BP_OUTPUT_CATEGORICAL, learns = l->config.prior_kind == BP_PRIOR_LEARNED;
    const uint64_t policy = bp_policy_macs(&l->policy, T, B), critic = bp_mlp_macs(&l->critic, n, 1);
    const uint64_t prior = bpi_rs0_has_low_prior(l) ? bp_policy_macs(&l->prior, T, B) : 0;
    const uint64_t high_prior = bpi_rs0_has_high_prior(l) ? bp_policy_macs(&l->high_prior, T, B) : 0;
    const uint64_t values = bp_mlp_macs(&l->critic, n, categorical ? S : S + 1), samples = bp_mlp_macs(&l->critic, n, S);
    /* values; samples forward and, but for the state's part of the first layer, back to the action; critic forward,
     * back to weights and back to activations; the same for the policy, which is also evaluated as target */
    uint64_t macs = bpi_rs0_n_critics(l) * (values + samples + 3 * critic) + 4 * policy + 2 * prior;
    if (!categorical) macs += bpi_rs0_n_critics(l) * (samples - (uint64_t)n * l->critic.config.input * l->critic.layer[0].out);
    if (learns) macs += 3 * (prior + high_prior);
    if (bpi_rs0_has_levels(l)) /* the high levels, and the low prior's way back to z */
        macs += 5 * bp_policy_macs(&l->high, T, B) + 2 * high_prior + prior + (bpi_rs0_joint(l) ? policy + critic : 0);
    if (l->critic_rnn.units) macs += bpi_rs0_n_critics(l) * 4 * bp_rnn_macs(&l->critic_rnn, T, B);
    return macs;
}

/* ---- reading and writing ------------------------------------------------------ */

BPRIOR_API size_t bp_rs0_metric_count(void) {
#define BPI_X(name, meaning) +1
    return 0 BP_RS0_METRICS(BPI_X);
#undef BPI_X
}

BPRIOR_API const char *bp_rs0_metric_name(size_t i) {
    static const char *const names[] = {
#define BPI_X(name, meaning) #name,
        BP_RS0_METRICS(BPI_X)
#undef BPI_X
    };
    return i < sizeof names / sizeof names[0] ? names[i] : "";
}

BPRIOR_API double bp_rs0_metric_value(const bp_rs0_metrics *metrics, size_t i) {
    switch (i) {
#define BPI_X(name, meaning) \
    case offsetof(bp_rs0_metrics, name) / sizeof(double): return metrics->name;
        BP_RS0_METRICS(BPI_X)
#undef BPI_X
    default: return 0.0;
    }
}

BPRIOR_API const bp_real *bp_rs0_policy_params(const bp_rs0 *l, const bp_real *params, const bp_real *observation) {
    if (l->config.n_tasks == 1) return params;
    return params + bpi_rs0_task_of(l, observation) * l->policy.n_params;
}

BPRIOR_API bp_status bp_rs0_set_prior(bp_rs0 *l, const bp_real *params, size_t n, bp_error *error) {
    if (l->prior_p.n == 0)
        return bpi_fail(error, BP_ERR_ARGUMENT, "learner: prior_kind has no network; use LEARNED or FIXED");
    if (n != l->prior_p.n)
        return bpi_fail(error, BP_ERR_SIZE, "learner: prior has %lu parameters, %lu given", (unsigned long)l->prior_p.n,
                        (unsigned long)n);
    memcpy(l->prior_p.online, params, n * sizeof(bp_real));
    memcpy(l->prior_p.target, params, n * sizeof(bp_real));
    return BP_OK;
}

/* What acts, with parameters that may be a copy of the learner's. observation NULL: of several tasks the first. */
BPI_FN bp_behavior bpi_rs0_policy_behavior(const bp_rs0 *l, const bp_real *params, const bp_real *observation) {
    bp_behavior b;
    memset(&b, 0, sizeof b);
    b.policy = &l->policy;
    b.params = (observation ? bp_rs0_policy_params(l, params, observation) : params) + bpi_rs0_low_at(l);
    b.latent = l->latent;
    b.high_kind = BP_HIGH_LEARNED;
    b.high = &l->high;
    b.high_params = params;
    return b;
}

BPRIOR_API bp_status bp_rs0_behavior(bp_behavior *out, const bp_rs0 *l, bp_rs0_who who, const bp_real *observation,
                                     bp_error *error) {
    memset(out, 0, sizeof *out);
    if (who != BP_PLAY_PRIOR) {
        *out = bpi_rs0_policy_behavior(l, who == BP_PLAY_TARGET ? l->policy_p.target : l->policy_p.online, observation);
        return BP_OK;
    }
    if (!bpi_rs0_has_prior_net(l)) return bpi_fail(error, BP_ERR_UNSUPPORTED, "learner: its prior has no parameters to act with");
    out->latent = l->latent;
    out->high_kind = l->config.latent.prior_kind;
    out->high = &l->high_prior;
    out->high_params = l->prior_p.online;
    out->policy = bpi_rs0_shares_low(l) ? &l->policy : &l->prior;
    out->params = bpi_rs0_shares_low(l) ? l->policy_p.online + bpi_rs0_low_at(l) : l->prior_p.online + bpi_rs0_low_prior_at(l);
    return BP_OK;
}

/* ---- acting ------------------------------------------------------------------- */

BPRIOR_API bp_replay_config bp_rs0_replay_config(const bp_rs0 *l) {
    bp_replay_config config = bp_replay_config_default(&l->spec);
    config.length = l->config.length;
    config.state_size = l->state_size;
    config.latent_size = bpi_rs0_joint(l) ? l->latent.size : 0;
    return config;
}

/* work: what is thrown away (a distribution, or h of a critic) | z before | fields of a critic | scratch of the networks */
BPI_FN size_t bpi_rs0_act_discard(const bp_rs0 *l) {
    return bpi_max_size(bpi_max_size(l->policy.dist_size, 2 * l->latent.size), l->critic_rnn.units);
}

BPRIOR_API size_t bp_rs0_act_work_reals(const bp_rs0 *l) {
    const bp_behavior b = bpi_rs0_policy_behavior(l, l->policy_p.online, NULL); /* of any task: they have the same size */
    size_t work = bp_behavior_work_reals(&b);
    if (bpi_rs0_has_high_prior(l)) work = bpi_max_size(work, bp_policy_unroll_work_reals(&l->high_prior, 1, 1));
    if (bpi_rs0_has_low_prior(l)) work = bpi_max_size(work, bp_policy_unroll_work_reals(&l->prior, 1, 1));
    if (l->critic_rnn.units) work = bpi_max_size(work, bp_rnn_work_reals(&l->critic_rnn, 1, 1));
    return bpi_rs0_act_discard(l) + l->latent.size + l->critic_fields.size + work;
}

BPRIOR_API const bp_real *bp_rs0_act(const bp_compute *c, bp_real *action, bp_real *log_mu, bp_real *state, bp_real *work,
                                     bp_rng *rng, const bp_real *observation, const bp_real *policy, const bp_real *prior,
                                     const bp_real *critic, const bp_rs0 *l) {
    const bp_behavior b = bpi_rs0_policy_behavior(l, policy, observation);
    const size_t Z = l->latent.size;
    bp_real *z = state + bpi_rs0_state_at(l, BPI_STATE_Z);
    bp_real *discard = work, *before = discard + bpi_rs0_act_discard(l), *fields = before + Z, *rest = fields + l->critic_fields.size;
    bp_unroll in = bpi_unroll_of_rows(observation, NULL, 1);
    bp_real log_latent;
    size_t k;
    if (Z) memcpy(before, z, Z * sizeof(bp_real)); /* zeros at the start of an episode */
    bp_behavior_act(c, action, log_mu, &log_latent, discard, state, rest, rng, observation, &b);
    if (bpi_rs0_joint(l) && log_mu) *log_mu += log_latent;
    if (l->config.memory_start != BP_MEMORY_STORED) return Z ? z : NULL;

    if (bpi_rs0_state_part(l, BPI_STATE_PRIOR_HIGH)) {
        bp_real *own = state + bpi_rs0_state_at(l, BPI_STATE_PRIOR_HIGH);
        in.state = own;
        in.latent = before;
        bp_policy_unroll_eval(c, discard, own, rest, &in, prior, &l->high_prior);
    }
    if (bpi_rs0_state_part(l, BPI_STATE_PRIOR_LOW)) {
        bp_real *own = state + bpi_rs0_state_at(l, BPI_STATE_PRIOR_LOW);
        in.state = own;
        in.latent = Z ? z : NULL;
        bp_policy_unroll_eval(c, discard, own, rest, &in, prior + bpi_rs0_low_prior_at(l), &l->prior);
    }
    for (k = 0; l->critic_rnn.units && k < bpi_rs0_n_critics(l); k++) {
        bp_real *own = state + bpi_rs0_state_at(l, BPI_STATE_CRITIC + (int)k);
        bp_field_gather(fields, observation, &l->critic_fields, l->spec.observation_size, 1, NULL);
        bp_rnn_eval(c, discard, own, rest, fields, NULL, own, NULL, critic + k * bpi_rs0_critic_size(l) + l->critic.n_params,
                    &l->critic_rnn, 1, 1);
    }
    return Z ? z : NULL;
}

/* ---- naming -------------------------------------------------------------------- */

/* One network of the learner: where its parameters are and what its parts are called. */
typedef struct bpi_rs0_network {
    const char *name;
    size_t copy; /* 0: the name alone; else name.copy */
    const bp_learned *p;
    size_t at, n_views;
    const bp_policy *policy; /* either a policy, */
    const bp_view *view;     /* or views */
} bpi_rs0_network;

/* Network i of: policies of all tasks, high level, prior, its high level, critics, their memories. False: no such. */
BPI_FN bool bpi_rs0_network_at(bpi_rs0_network *out, const bp_rs0 *l, size_t i) {
    const size_t critics = bpi_rs0_n_critics(l);
    memset(out, 0, sizeof *out);
    if (i < l->config.n_tasks) {
        out->name = "policy", out->copy = i, out->p = &l->policy_p, out->policy = &l->policy;
        out->at = bpi_rs0_low_at(l) + i * l->policy.n_params;
    } else if ((i -= l->config.n_tasks) < (l->prior.n_params ? 1u : 0u)) {
        out->name = "prior", out->p = &l->prior_p, out->policy = &l->prior, out->at = bpi_rs0_low_prior_at(l);
    } else if ((i -= l->prior.n_params ? 1u : 0u) < critics) {
        out->name = "critic", out->copy = i, out->p = &l->critic_p, out->view = l->critic.view, out->n_views = l->critic.n_views;
        out->at = i * bpi_rs0_critic_size(l);
    } else if ((i -= critics) < (l->high.n_params ? 1u : 0u)) {
        out->name = "policy_high", out->p = &l->policy_p, out->policy = &l->high;
    } else if ((i -= l->high.n_params ? 1u : 0u) < (l->high_prior.n_params ? 1u : 0u)) {
        out->name = "prior_high", out->p = &l->prior_p, out->policy = &l->high_prior;
    } else if ((i -= l->high_prior.n_params ? 1u : 0u) < (l->critic_rnn.units ? critics : 0u)) {
        out->name = "critic_lstm", out->copy = i, out->p = &l->critic_p, out->view = l->critic_rnn.view;
        out->n_views = l->critic_rnn.n_views, out->at = i * bpi_rs0_critic_size(l) + l->critic.n_params;
    } else return false;
    if (out->policy) out->n_views = out->policy->n_views;
    return true;
}

/* Tensors in order: for each network, for each of its four arrays, each part. */
BPRIOR_API size_t bp_rs0_tensor_count(const bp_rs0 *l) {
    bpi_rs0_network network;
    size_t i, count = 0;
    for (i = 0; bpi_rs0_network_at(&network, l, i); i++) count += 4 * network.n_views;
    return count;
}

BPRIOR_API void bp_rs0_tensor(bp_tensor *out, const bp_rs0 *l, size_t i) {
    static const char *const kind[4] = {"online", "target", "adam_m", "adam_v"};
    bpi_rs0_network network;
    bp_real *array[4];
    bp_view view;
    char copy[24] = "";
    size_t k;
    memset(out, 0, sizeof *out);
    for (k = 0; bpi_rs0_network_at(&network, l, k); k++) {
        if (i < 4 * network.n_views) break;
        i -= 4 * network.n_views;
    }
    if (!network.p) return;
    if (network.policy) bp_policy_view(&view, network.policy, i % network.n_views);
    else view = network.view[i % network.n_views];
    array[0] = network.p->online, array[1] = network.p->target, array[2] = network.p->m, array[3] = network.p->v;
    if (network.copy) (void)snprintf(copy, sizeof copy, ".%lu", (unsigned long)network.copy);
    (void)snprintf(out->name, sizeof out->name, "%s%s/%s/%s", network.name, copy, kind[i / network.n_views], view.name);
    out->rows = view.rows;
    out->cols = view.cols;
    out->data = array[i / network.n_views] + network.at + view.offset;
}

/* ==========================================================================
 * 19. >>runs-impl   Actors and training runs
 *    provides: acting, the sample-to-insert limiter, rounds, checkpoints
 *    needs: 1-4, 9, 14, 16, 18, 20        equations: the loop around E19-E22
 * ========================================================================== */

/* ---- 19.1 what a run consists of ------------------------------------------ */

enum { BPI_STREAM_LEARNER = 1,
       BPI_STREAM_REPLAY = 2,
       BPI_STREAM_EVALUATION = 3,
       BPI_STREAM_ACTOR = 1000 };
enum {
    BPI_RUN_METRICS = 32,
    BPI_RUN_COLUMNS = 48,
    BPI_RUN_U64 = 24,
    BPI_RUN_F64 = 64,
    BPI_ACTOR_U64 = 8,
    BPI_RNG_U64 = 13,
    BPI_FINGERPRINT = 240
};

/* What an actor found out since its sums were last fetched. */
typedef struct bpi_tally {
    uint64_t steps, episodes, faults;
    double sum_return, sum_square, sum_length;
} bpi_tally;

typedef struct bpi_actor {
    struct bp_run *run;
    size_t index;
    bp_env env;
    bp_rng rng;
    bp_sequence sequence;
    bool started;     /* there is an x_0 */
    bool ended;       /* the newest observation is the last of its episode: a boundary row comes next */
    bool dead;        /* reset failed again and again */
    uint64_t episode; /* number of the next episode */
    uint64_t length;  /* steps of the running episode */
    double sum;       /* its rewards */
    bpi_tally tally;
    bp_real *next;            /* [O] what the environment answers */
    bp_real *seen;            /* [O] what the policy is shown (normalised) */
    bp_real *action;          /* [A] */
    bp_real *state;           /* [state_size] what it remembers */
    bp_real *work;            /* bp_rs0_act_work_reals() */
    bp_real *params;          /* ASYNC: snapshot of all parameters that acting needs */
    bp_normaliser normaliser; /* ASYNC: snapshot of the run's */
    char fault[256];          /* text of the newest fault */
} bpi_actor;

struct bpi_run {
    bp_owner owner;
    char directory[BP_PATH];
    bpi_actor *actor;    /* [actors] */
    bp_env judge;        /* evaluation's environment */
    void *block;         /* run, self and actors */
    bp_compute *compute; /* [computes]: one per thread that may act at the same time */
    size_t computes;
    bp_team *team;
    bp_batch batch;
    bp_rng learner_rng, replay_rng;
    bp_real *judge_observation, *judge_seen, *judge_action, *judge_dist, *judge_work, *judge_state;
    bp_csv csv;
    bp_events events;
    bp_allocator allocator;     /* a copy of the caller's */
    const bp_allocator *memory; /* that copy, or NULL for malloc */
    void *buffers;              /* the block that holds all arrays below and the actors' */
    size_t buffers_bytes;
    char checkpoint[BP_PATH]; /* directory/checkpoint, "" without directory */
    bpi_tally window;         /* since the last CSV row */
    double metric_sum[BPI_RUN_METRICS];
    uint64_t metric_steps;
    uint64_t sampled; /* sequences */
    bool evaluated;   /* since the last CSV row */
    uint64_t next_evaluation, next_log, next_checkpoint;
    uint64_t generation; /* of the newest checkpoint; 0: none */
    size_t fingerprint_n;
    double *fingerprint; /* settings that determine the result */
    uint64_t *actor_u64; /* [actors][BPI_ACTOR_U64] for the checkpoint */
    double *actor_f64;   /* [actors] */
    uint64_t *rng_u64;   /* [2 + actors][BPI_RNG_U64] */
    uint64_t run_u64[BPI_RUN_U64];
    double run_f64[BPI_RUN_F64];
    bp_real *sequences; /* [actors][sequence reals] */
    bp_real *states;    /* [actors][state_size] what they remember */
    size_t sequence_reals;
    unsigned char *env_state; /* grows when a state does */
    size_t env_state_bytes, env_state_used;
    double clock;        /* wall clock at the last look */
    double status_clock; /* at the last status line */
    uint64_t status_steps;
    double rate;
    size_t status_width;
    bp_status failed; /* sticky */
    bp_error failure;
#ifdef BPRIOR_THREADS
    bool threads_ready; /* mutex and conditions exist */
    bool threads_running;
    pthread_mutex_t lock; /* guards replay, tallies, published, normaliser and the fields below */
    pthread_cond_t wake_actors, wake_learner;
    pthread_t *thread;      /* [actors] */
    size_t active, waiting; /* actor threads that live, and of these that wait */
    bool quit, pause;
    size_t held;        /* depth of bpi_async_hold(); the learner's thread only */
    bp_real *published; /* parameters that actors copy: bpi_publish() */
    uint64_t in_flight; /* ASYNC: steps that running sequences may still add */
#endif
};

BPRIOR_API bp_run_config bp_run_config_make(uint32_t cookie) {
    bp_run_config config;
    memset(&config, 0, sizeof config);
    config.cookie = cookie;
    if (cookie != BP_COOKIE(bp_run_config)) return config;
    config.learner = bp_rs0_config_default();
    config.seed = 1;
    config.mode = BP_RUN_SYNC;
    config.actors = 1;
    config.threads = 1;
    config.env_steps = 100000;
    config.replay_capacity = 100000;
    config.min_sequences = 1000;
    config.samples_per_insert = 32.0;
    config.evaluate_every = 10000;
    config.evaluation_episodes = 10;
    config.log_every = 1000;
    config.checkpoint_every = 100000;
    config.max_faults = 100;
    config.max_rejected = 1000;
    config.status_every = -1.0;
    return config;
}

BPI_FN double bpi_nan(void) {
    const double huge = HUGE_VAL;
    return huge - huge;
}

/* Population standard deviation from a sum and a sum of squares; rounding may leave a negative variance of nothing. */
BPI_FN double bpi_std(double sum, double square, double n) {
    const double variance = square / n - (sum / n) * (sum / n);
    return variance > 0.0 ? sqrt(variance) : 0.0;
}

/* From chapter 20's implementation, which comes after this one. */
BPI_FN double bpi_wall_seconds(void);
BPI_FN bool bpi_path_join(char *out, const char *directory, const char *name);
BPI_FN void bpi_io_remove(const char *path);
BPI_FN void bpi_io_sync_directory(const char *directory);
BPI_FN void *bpi_io_open(const char *path, int mode);
BPI_FN size_t bpi_io_read(void *handle, void *data, size_t bytes);
BPI_FN bool bpi_io_close(void *handle);
enum { BPI_IO_READ,
       BPI_IO_CREATE,
       BPI_IO_APPEND }; /* modes of bpi_io_open() */
BPI_FN bp_status bpi_io_fail(bp_error *error, const char *what, const char *path, int reason);
BPI_FN size_t bpi_format_number(char out[40], double value, int digits);
/* Metadata under construction: keys and values in one buffer. */
enum { BPI_FACTS = 3 * BP_MAX_FIELDS + 40 };
typedef struct bpi_facts {
    bp_text text[BPI_FACTS];
    size_t n;
    char buffer[BPI_FACTS * 48];
    size_t used;
} bpi_facts;
BPI_FN BPI_PRINTF(3, 4) void bpi_fact(bpi_facts *facts, const char *key, const char *fmt, ...);
BPI_FN void bpi_facts_spec(bpi_facts *facts, const char *format, const bp_spec *spec);
BPI_FN bp_status bpi_read_spec_text(bp_spec *spec, const bp_safetensors *file, bp_error *error);
BPI_FN bool bpi_spec_difference(char *text, size_t capacity, const bp_spec *have, const bp_spec *want);

/* ---- 19.2 acting ---------------------------------------------------------- */

BPI_FN bool bpi_all_finite(const bp_real *x, size_t n) {
    size_t i;
    for (i = 0; i < n; i++)
        if (!bpi_finite(x[i])) return false;
    return true;
}

BPI_FN void bpi_actor_fault(bpi_actor *actor, const char *what, bp_status status) {
    actor->tally.faults++;
    (void)snprintf(actor->fault, sizeof actor->fault, "environment %lu, episode %lu, step %lu: %s%s%s",
                   (unsigned long)actor->index, (unsigned long)(actor->episode ? actor->episode - 1 : 0),
                   (unsigned long)actor->length, what, status != BP_OK ? ": " : "",
                   status != BP_OK ? bp_status_str(status) : "");
}

/* Begin the next episode in actor->next. A failing reset is tried with the seeds of some later episodes, too. */
BPI_FN bool bpi_actor_reset(bpi_actor *actor) {
    int attempt;
    for (attempt = 0; attempt < 10; attempt++) {
        const uint64_t seed = bp_seed_mix(actor->run->config.seed, (uint64_t)actor->index, actor->episode++);
        const bp_status status = actor->env.reset(actor->env.self, seed, actor->next);
        actor->length = 0;
        actor->sum = 0.0;
        if (status == BP_OK && bpi_all_finite(actor->next, actor->run->spec.observation_size)) return true;
        bpi_actor_fault(actor, status != BP_OK ? "reset failed" : "reset gave a number that is not finite", status);
    }
    actor->dead = true;
    return false;
}

/* The parameters that acting reads: the policy's, and those of whatever else remembers (see bp_rs0_act()). */
typedef struct bpi_acting {
    const bp_real *policy, *prior, *critic;
} bpi_acting;

BPI_FN bpi_acting bpi_acting_online(const bp_rs0 *l) {
    bpi_acting a;
    a.policy = l->policy_p.online;
    a.prior = l->prior_p.online;
    a.critic = l->critic_p.online;
    return a;
}

/* Fill the actor's sequence. Touches nothing but the actor (and reads parameters), so that all actors can do
 * this at the same time. */
BPI_FN void bpi_actor_collect(bpi_actor *actor, const bp_compute *compute, const bpi_acting *params,
                              const bp_normaliser *normaliser) {
    const bp_run *run = actor->run;
    const bp_rs0 *l = run->learner;
    const size_t O = run->spec.observation_size, Z = run->replay->config.latent_size;
    bp_sequence *sequence = &actor->sequence;

    if (actor->dead) return;
    if (!actor->started) {
        if (!bpi_actor_reset(actor)) return;
        bp_sequence_begin(sequence, actor->next);
        memset(actor->state, 0, l->state_size * sizeof(bp_real));
        actor->started = true;
        actor->ended = false;
    }
    memcpy(sequence->state, actor->state, l->state_size * sizeof(bp_real));
    while (!bp_sequence_full(sequence)) {
        const bp_real *observation = sequence->observation + sequence->filled * O, *shown = observation, *z;
        bp_real log_mu;
        bp_step step;
        bp_status status;

        if (actor->ended) {
            if (!bpi_actor_reset(actor)) return;
            bp_sequence_boundary(sequence, actor->next);
            memset(actor->state, 0, l->state_size * sizeof(bp_real));
            actor->ended = false;
            continue;
        }
        if (normaliser->size) {
            bp_normaliser_apply(actor->seen, normaliser, observation, 1);
            shown = actor->seen;
        }
        z = bp_rs0_act(compute, actor->action, &log_mu, actor->state, actor->work, &actor->rng, shown, params->policy,
                       params->prior, params->critic, l);

        step.reward = 0;
        step.discount = 1;
        step.last = false;
        status = actor->env.step(actor->env.self, actor->action, actor->next, &step);
        if (status != BP_OK || !bpi_finite(step.reward) || !bpi_finite(step.discount) || !bpi_finite(log_mu) ||
            !bpi_all_finite(actor->next, O)) {
            /* The row is not stored: the episode ends, like a time limit, at the last observation that was good. */
            bpi_actor_fault(actor, status != BP_OK ? "step failed" : "step gave a number that is not finite", status);
            actor->ended = true;
            continue;
        }
        if (Z) memcpy(sequence->latent + sequence->filled * Z, z, Z * sizeof(bp_real));
        bp_sequence_add(sequence, actor->action, log_mu, step.reward, step.discount, actor->next);
        actor->tally.steps++;
        actor->length++;
        actor->sum += (double)step.reward;
        if (step.last) {
            actor->ended = true;
            actor->tally.episodes++;
            actor->tally.sum_return += actor->sum;
            actor->tally.sum_square += actor->sum * actor->sum;
            actor->tally.sum_length += (double)actor->length;
        }
    }
}

BPI_FN void bpi_run_act_job(void *ctx, size_t index, size_t worker) {
    bp_run *run = (bp_run *)ctx;
    const bpi_acting online = bpi_acting_online(run->learner);
    bpi_actor_collect(&run->self->actor[index], &run->self->compute[worker], &online, &run->normaliser);
}

/* Take over what an actor brings: its tally, its sequence, its observations. Always in the actors' order. */
BPI_FN bp_status bpi_run_receive(bp_run *run, bpi_actor *actor, bp_error *error) {
    struct bpi_run *self = run->self;
    bpi_tally *tally = &actor->tally, *window = &self->window;
    run->env_steps += tally->steps;
    run->episodes += tally->episodes;
    run->faults += tally->faults;
    window->steps += tally->steps;
    window->episodes += tally->episodes;
    window->faults += tally->faults;
    window->sum_return += tally->sum_return;
    window->sum_square += tally->sum_square;
    window->sum_length += tally->sum_length;
    if (tally->faults) bpi_log_line(&run->config.log, 1, "%s (fault %lu)", actor->fault, (unsigned long)run->faults);
    memset(tally, 0, sizeof *tally);
    if (actor->dead)
        return bpi_fail(error, BP_ERR_ENV, "%.180s; reset failed ten times, the run is stopped", actor->fault);
    if (run->faults > run->config.max_faults)
        return bpi_fail(error, BP_ERR_ENV, "%.150s; fault %lu, more than max_faults, stops the run", actor->fault,
                        (unsigned long)run->faults);
    if (run->normaliser.size)
        bp_normaliser_update(&run->normaliser, actor->sequence.observation, actor->sequence.length);
    {
        const bp_status status = bp_replay_insert(run->replay, &actor->sequence, error);
        if (status != BP_OK) return status;
    }
    bp_sequence_carry(&actor->sequence);
    return BP_OK;
}

/* ---- 19.3 learning -------------------------------------------------------- */

/* Sequences that may have been sampled by now: ratio * (inserted - min). */
BPI_FN double bpi_run_allowance(const bp_run *run) {
    const uint64_t inserted = run->replay->inserted, least = (uint64_t)run->config.min_sequences;
    return inserted > least ? run->config.samples_per_insert * (double)(inserted - least) : 0.0;
}

BPI_FN bool bpi_run_may_learn(const bp_run *run) {
    if (run->config.learner_steps && run->learner->steps + run->learner->rejected >= run->config.learner_steps)
        return false;
    return run->replay->count > 0 &&
           (double)run->self->sampled + (double)run->config.learner.batch <= bpi_run_allowance(run);
}

BPI_FN bp_status bpi_run_sample(bp_run *run, bp_error *error) {
    struct bpi_run *self = run->self;
    const bp_status status = bp_replay_sample(&self->batch, run->replay, &self->replay_rng, error);
    if (status != BP_OK) return status;
    self->sampled += (uint64_t)run->config.learner.batch;
    if (run->normaliser.size)
        bp_normaliser_apply(self->batch.observation, &run->normaliser, self->batch.observation,
                            (self->batch.length + 1) * self->batch.batch);
    return BP_OK;
}

BPI_FN bp_status bpi_run_learn(bp_run *run, bp_error *error) {
    struct bpi_run *self = run->self;
    const bp_status status = bp_rs0_step(run->learner, &self->batch, &self->learner_rng, self->team, error);
    size_t i;
    if (status == BP_ERR_NONFINITE) {
        bpi_log_line(&run->config.log, 1, "learner step undone: %s", error ? error->text : bp_status_str(status));
        if (run->learner->rejected <= (uint64_t)run->config.max_rejected) return bpi_ok(error);
        return bpi_fail(error, BP_ERR_NONFINITE,
                        "%lu learner steps were not finite, more than max_rejected: the run is stopped",
                        (unsigned long)run->learner->rejected);
    }
    if (status != BP_OK) return status;
    for (i = 0; i < bp_rs0_metric_count() && i < BPI_RUN_METRICS; i++)
        self->metric_sum[i] += bp_rs0_metric_value(&run->learner->metrics, i);
    self->metric_steps++;
    return BP_OK;
}

/* In ASYNC mode: stop the actors at a sequence boundary, let them go on, end their threads, guard what they share.
 * In SYNC mode nothing. */
BPI_FN void bpi_async_hold(bp_run *run);
BPI_FN void bpi_async_go_on(bp_run *run);
BPI_FN void bpi_async_join(bp_run *run);
BPI_FN void bpi_async_lock(bp_run *run);
BPI_FN void bpi_async_unlock(bp_run *run);

BPI_FN bp_status bpi_run_open_files(bp_run *run, bp_error *error);
BPI_FN void bpi_run_fingerprint(bp_run *run);

/* ---- 19.4 evaluation ------------------------------------------------------ */

BPRIOR_API bp_status bp_run_evaluate(bp_evaluation *out, double *returns, bp_run *run, bp_rs0_who who, size_t episodes,
                                     uint64_t seed, bool stochastic, bp_error *error) {
    struct bpi_run *self = run->self;
    const size_t O = run->spec.observation_size;
    bp_behavior behavior;
    bp_rng rng = bp_rng_make(seed, BPI_STREAM_EVALUATION);
    double sum = 0.0, square = 0.0, length = 0.0;
    size_t k;

    memset(out, 0, sizeof *out);
    out->mean = out->std = out->length = bpi_nan();
    {
        const bp_status status = bp_rs0_behavior(&behavior, run->learner, who, self->judge_observation, error);
        if (status != BP_OK) return status;
    }
    bpi_async_hold(run);
    for (k = 0; k < episodes; k++) {
        /* The seed sequence of actor 2^64-1, which no run has. */
        bp_status status = self->judge.reset(self->judge.self, bp_seed_mix(seed, UINT64_MAX, k), self->judge_observation);
        bool good = status == BP_OK && bpi_all_finite(self->judge_observation, O);
        bp_step step;
        double total = 0.0;
        uint64_t steps = 0;
        step.last = false;
        memset(self->judge_state, 0, bp_behavior_state_size(&behavior) * sizeof(bp_real));
        while (good && !step.last) {
            const bp_real *shown = self->judge_observation;
            (void)bp_rs0_behavior(&behavior, run->learner, who, shown, NULL); /* the task decides whose parameters */
            if (run->normaliser.size) {
                bp_normaliser_apply(self->judge_seen, &run->normaliser, shown, 1);
                shown = self->judge_seen;
            }
            bp_behavior_act(&self->compute[0], self->judge_action, NULL, NULL, self->judge_dist, self->judge_state,
                            self->judge_work, stochastic ? &rng : NULL, shown, &behavior);
            step.reward = 0;
            step.discount = 1;
            status = self->judge.step(self->judge.self, self->judge_action, self->judge_observation, &step);
            good = status == BP_OK && bpi_finite(step.reward) && bpi_all_finite(self->judge_observation, O);
            if (good) total += (double)step.reward;
            steps++;
        }
        if (returns) returns[k] = good ? total : bpi_nan();
        if (!good) {
            out->faults++;
            continue;
        }
        out->episodes++;
        sum += total;
        square += total * total;
        length += (double)steps;
    }
    bpi_async_go_on(run);
    if (out->episodes) {
        const double n = (double)out->episodes;
        out->mean = sum / n;
        out->std = bpi_std(sum, square, n);
        out->length = length / n;
    } else if (episodes) {
        return bpi_fail(error, BP_ERR_ENV, "evaluation: all %lu episodes were faulty", (unsigned long)episodes);
    }
    return bpi_ok(error);
}

BPI_FN void bpi_run_scheduled_evaluation(bp_run *run) {
    bp_error error;
    const bp_status status =
        bp_run_evaluate(&run->evaluation, NULL, run, BP_PLAY_POLICY, run->config.evaluation_episodes,
                        bp_seed_mix(run->config.seed, 0x6576616Cu, 0), run->config.evaluation_stochastic, &error);
    run->self->evaluated = true;
    if (status != BP_OK) bpi_log_line(&run->config.log, 1, "%s", error.text);
}

/* ---- 19.5 telling --------------------------------------------------------- */

/* Advance the run's stopwatch. A clock that was set back counts as no time. */
BPI_FN void bpi_run_tick(bp_run *run) {
    const double now = bpi_wall_seconds(), passed = now - run->self->clock;
    if (passed > 0.0) run->seconds += passed;
    run->self->clock = now;
}

BPI_FN size_t bpi_run_columns(const char *names[BPI_RUN_COLUMNS]) {
    size_t n = 0, i;
    names[n++] = "env_steps";
    names[n++] = "learner_steps";
    names[n++] = "episodes";
    names[n++] = "return_mean";
    names[n++] = "return_std";
    names[n++] = "length_mean";
    names[n++] = "eval_return_mean";
    names[n++] = "eval_return_std";
    names[n++] = "eval_length_mean";
    for (i = 0; i < bp_rs0_metric_count() && i < BPI_RUN_METRICS; i++) names[n++] = bp_rs0_metric_name(i);
    names[n++] = "replay_sequences";
    names[n++] = "faults";
    names[n++] = "rejected";
    names[n++] = "seconds"; /* the only one that reads a clock: always last */
    return n;
}

BPI_FN bp_status bpi_run_row(bp_run *run, bp_error *error) {
    struct bpi_run *self = run->self;
    const bpi_tally *w = &self->window;
    const double e = (double)w->episodes, nan = bpi_nan();
    const char *names[BPI_RUN_COLUMNS];
    double row[BPI_RUN_COLUMNS];
    const size_t columns = bpi_run_columns(names);
    size_t n = 0, i;
    bp_status status = BP_OK;

    bpi_run_tick(run);
    row[n++] = (double)run->env_steps;
    row[n++] = (double)run->learner->steps;
    row[n++] = (double)run->episodes;
    row[n++] = w->episodes ? w->sum_return / e : nan;
    row[n++] = w->episodes ? bpi_std(w->sum_return, w->sum_square, e) : nan;
    row[n++] = w->episodes ? w->sum_length / e : nan;
    row[n++] = self->evaluated ? run->evaluation.mean : nan;
    row[n++] = self->evaluated ? run->evaluation.std : nan;
    row[n++] = self->evaluated ? run->evaluation.length : nan;
    for (i = 0; i < bp_rs0_metric_count() && i < BPI_RUN_METRICS; i++)
        row[n++] = self->metric_steps ? self->metric_sum[i] / (double)self->metric_steps : nan;
    row[n++] = (double)run->replay->count;
    row[n++] = (double)run->faults;
    row[n++] = (double)run->learner->rejected;
    row[n++] = floor(run->seconds * 1000.0) / 1000.0;
    run->recent_return = row[3];

    if (self->csv.stream) status = bp_csv_row(&self->csv, row, error);
    if (self->events.stream)
        for (i = 1; i < columns && status == BP_OK; i++)
            if (row[i] == row[i])
                status = bp_events_scalar(&self->events, names[i], run->env_steps, row[i], self->clock, error);
    memset(&self->window, 0, sizeof self->window);
    memset(self->metric_sum, 0, sizeof self->metric_sum);
    self->metric_steps = 0;
    self->evaluated = false;
    return status;
}

BPI_FN void bpi_run_status(bp_run *run, bool last) {
    struct bpi_run *self = run->self;
    const bp_run_config *config = &run->config;
    const double every = config->status_every >= 0.0 ? config->status_every : config->terminal ? 0.25
                                                                                               : 10.0;
    const double nan = bpi_nan();
    bp_progress progress;
    char text[256];
    size_t n = 0;
    double passed;

    if (!config->status) return;
    bpi_run_tick(run);
    passed = self->clock - self->status_clock;
    if (!last && passed < every && passed >= 0.0) return;
    if (passed > 0.0 && run->env_steps > self->status_steps) {
        const double rate = (double)(run->env_steps - self->status_steps) / passed;
        self->rate = self->rate > 0.0 ? 0.7 * self->rate + 0.3 * rate : rate; /* a steadier number to read */
    }
    self->status_clock = self->clock;
    self->status_steps = run->env_steps;
    progress.done = run->env_steps;
    progress.total = config->env_steps;
    progress.steps_per_second = self->rate;
    progress.episode_return = self->window.episodes ? self->window.sum_return / (double)self->window.episodes
                                                    : run->recent_return;
    progress.evaluation = run->evaluation.episodes ? run->evaluation.mean : nan;
    progress.kl = run->learner->steps && run->learner->config.prior_kind != BP_PRIOR_NONE ? run->learner->metrics.kl : nan;
    progress.seconds_left = self->rate > 0.0 && config->env_steps > run->env_steps
                                ? (double)(config->env_steps - run->env_steps) / self->rate
                                : nan;
    if (config->terminal) text[n++] = '\r';
    n += bp_status_line(text + n, 160, &progress);
    if (config->terminal) { /* blanks over what is left of a longer line */
        const size_t width = n;
        while (n < self->status_width && n < 180) text[n++] = ' ';
        self->status_width = width;
    }
    if (!config->terminal || last) text[n++] = '\n';
    text[n] = '\0';
    config->status(config->status_ctx, text);
}

/* ---- 19.6 rounds ---------------------------------------------------------- */

BPI_FN bp_status bpi_run_stick(bp_run *run, bp_status status, const bp_error *detail, bp_error *error) {
    bpi_async_lock(run);
    run->self->failed = status;
    run->self->failure = *detail;
    bpi_async_unlock(run);
    if (error) *error = *detail;
    return status;
}

BPI_FN bool bpi_async_over(const bp_run *run);

BPI_FN void bpi_run_look_if_done(bp_run *run) {
    const bp_run_config *c = &run->config;
    run->done = (c->mode == BP_RUN_ASYNC ? bpi_async_over(run) : run->env_steps >= c->env_steps) ||
                (c->learner_steps && run->learner->steps + run->learner->rejected >= c->learner_steps);
}

/* The smallest multiple of `every` above `steps`: when the next log row (evaluation, checkpoint) is due. */
BPI_FN uint64_t bpi_next_due(uint64_t steps, uint64_t every) {
    return every == 0 || steps > UINT64_MAX - every ? UINT64_MAX : (steps / every + 1) * every;
}

BPI_FN bp_status bpi_run_due(bp_run *run, bp_error *error) {
    struct bpi_run *self = run->self;
    bp_status status = BP_OK;
    bool evaluate, log, save;
    bpi_async_lock(run);
    bpi_run_look_if_done(run);
    evaluate = !run->done && run->config.evaluate_every && run->env_steps >= self->next_evaluation;
    log = !run->done && run->config.log_every && run->env_steps >= self->next_log;
    save = !run->done && run->config.checkpoint_every && run->env_steps >= self->next_checkpoint;
    bpi_run_status(run, false);
    bpi_async_unlock(run);
    if (!evaluate && !log && !save) return BP_OK;
    bpi_async_hold(run);
    if (evaluate) {
        bpi_run_scheduled_evaluation(run);
        self->next_evaluation = bpi_next_due(run->env_steps, run->config.evaluate_every);
    }
    if (log) {
        status = bpi_run_row(run, error);
        self->next_log = bpi_next_due(run->env_steps, run->config.log_every);
    }
    if (save && status == BP_OK) {
        self->next_checkpoint = bpi_next_due(run->env_steps, run->config.checkpoint_every);
        status = bp_run_checkpoint(run, error);
    }
    bpi_async_go_on(run);
    return status;
}

BPI_FN bp_status bpi_run_round_sync(bp_run *run, bp_error *error) {
    struct bpi_run *self = run->self;
    bp_status status = BP_OK;
    size_t i;
    bp_team_run(self->team, bpi_run_act_job, run, run->config.actors);
    for (i = 0; i < run->config.actors && status == BP_OK; i++) status = bpi_run_receive(run, &self->actor[i], error);
    while (status == BP_OK && bpi_run_may_learn(run)) {
        status = bpi_run_sample(run, error);
        if (status == BP_OK) status = bpi_run_learn(run, error);
    }
    return status;
}

BPI_FN bp_status bpi_run_round_async(bp_run *run, bp_error *error);

BPRIOR_API bp_status bp_run_round(bp_run *run, bp_error *error) {
    bp_error detail;
    bp_status status;
    bpi_async_lock(run);
    status = run->self->failed;
    if (status != BP_OK && error) *error = run->self->failure;
    bpi_async_unlock(run);
    if (status != BP_OK) return status;
    if (run->done) return bpi_ok(error);
    (void)bpi_ok(&detail);
    if (run->config.evaluate_every && run->self->next_evaluation == 0) { /* how good is it untrained? */
        bpi_run_scheduled_evaluation(run);
        run->self->next_evaluation = run->config.evaluate_every;
    }
    status = run->config.mode == BP_RUN_ASYNC ? bpi_run_round_async(run, &detail) : bpi_run_round_sync(run, &detail);
    if (status != BP_OK) return bpi_run_stick(run, status, &detail, error);
    run->rounds++;
    status = bpi_run_due(run, &detail);
    if (status != BP_OK) return bpi_run_stick(run, status, &detail, error);
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_run_train(bp_run *run, bp_error *error) {
    bp_status status;
    while (!run->done) {
        if (run->config.stop && run->config.stop(run->config.stop_ctx)) {
            bpi_async_join(run);
            status = bp_run_checkpoint(run, error);
            bpi_run_status(run, true);
            return status == BP_OK ? BP_INTERRUPTED : status;
        }
        status = bp_run_round(run, error);
        if (status != BP_OK) {
            bpi_async_join(run);
            bpi_run_status(run, true);
            return status;
        }
    }
    return bp_run_finish(run, error);
}

BPI_FN bp_status bpi_run_export_all(bp_run *run, bp_error *error);

BPRIOR_API bp_status bp_run_finish(bp_run *run, bp_error *error) {
    bp_status status = BP_OK;
    bpi_async_join(run);
    if (run->finished) return bpi_run_export_all(run, error); /* it may have been killed between checkpoint and export */
    if (run->config.evaluate_every) bpi_run_scheduled_evaluation(run);
    status = bpi_run_row(run, error);
    if (status != BP_OK) return status;
    run->finished = true;
    status = bp_run_checkpoint(run, error); /* exports, too */
    if (status != BP_OK) {
        run->finished = false;
        return status;
    }
    bpi_run_status(run, true);
    return bpi_ok(error);
}

/* ---- 19.7 free-running actors ---------------------------------------------
 * The limiter compares what was sampled with what may be sampled:
 *
 *     ahead = ratio * (inserted - min) - sampled
 *
 * The learner waits while ahead < B. Actors wait while ahead > slack = 2 B + ratio * actors. As slack > B, one side can
 * always go on. Actors ask before they begin a sequence, so a paused run stands at sequence boundaries. */
/* Actors of their own threads work on copies: of the policy, and if anything else remembers of prior and critic, too. */
BPI_FN bool bpi_publishes_all(const bp_rs0 *l) {
    return l->config.memory_start == BP_MEMORY_STORED &&
           bpi_rs0_state_at(l, BPI_STATES) > bpi_rs0_state_at(l, BPI_STATE_PRIOR_HIGH);
}
BPI_FN size_t bpi_published_reals(const bp_rs0 *l) {
    return l->policy_p.n + (bpi_publishes_all(l) ? l->prior_p.n + l->critic_p.n : 0);
}
#ifdef BPRIOR_THREADS
BPI_FN bpi_acting bpi_acting_published(const bp_rs0 *l, const bp_real *copy) {
    bpi_acting a;
    a.policy = copy;
    a.prior = copy + l->policy_p.n;
    a.critic = a.prior + l->prior_p.n; /* beyond the copy where only the policy is published: never read then */
    return a;
}
BPI_FN void bpi_publish(bp_real *copy, const bp_rs0 *l) {
    memcpy(copy, l->policy_p.online, l->policy_p.n * sizeof(bp_real));
    if (!bpi_publishes_all(l)) return;
    copy += l->policy_p.n;
    if (l->prior_p.n) memcpy(copy, l->prior_p.online, l->prior_p.n * sizeof(bp_real));
    memcpy(copy + l->prior_p.n, l->critic_p.online, l->critic_p.n * sizeof(bp_real));
}

BPI_FN bool bpi_async_may_act(const bp_run *run) {
    const bp_run_config *c = &run->config;
    const double slack = 2.0 * (double)c->learner.batch + c->samples_per_insert * (double)c->actors;
    return bpi_run_allowance(run) - (double)run->self->sampled <= slack;
}

/* Claims of the sequences under way included: who comes last waits whether they suffice. */
BPI_FN bool bpi_async_enough(const bp_run *run) {
    return run->env_steps + run->self->in_flight >= run->config.env_steps;
}

BPI_FN void *bpi_async_actor(void *ctx) {
    bpi_actor *actor = (bpi_actor *)ctx;
    bp_run *run = actor->run;
    struct bpi_run *self = run->self;
    const bp_compute *compute = &self->compute[run->config.threads + actor->index];
    const size_t n_params = bpi_published_reals(run->learner);
    const bpi_acting acting = bpi_acting_published(run->learner, actor->params);

    (void)pthread_mutex_lock(&self->lock);
    for (;;) {
        bp_error detail;
        uint64_t claim;
        while (!self->quit && self->failed == BP_OK && run->env_steps < run->config.env_steps &&
               (self->pause || bpi_async_enough(run) || !bpi_async_may_act(run))) {
            self->waiting++;
            (void)pthread_cond_signal(&self->wake_learner);
            (void)pthread_cond_wait(&self->wake_actors, &self->lock);
            self->waiting--;
        }
        if (self->quit || self->failed != BP_OK || run->env_steps >= run->config.env_steps) break;
        claim = (uint64_t)run->config.learner.length;
        self->in_flight += claim;
        memcpy(actor->params, self->published, n_params * sizeof(bp_real));
        if (run->normaliser.size)
            memcpy(actor->normaliser.state, run->normaliser.state, run->normaliser.n_state * sizeof(double));
        (void)pthread_mutex_unlock(&self->lock);

        bpi_actor_collect(actor, compute, &acting, &actor->normaliser);

        (void)pthread_mutex_lock(&self->lock);
        self->in_flight -= claim;
        if (self->failed == BP_OK && bpi_run_receive(run, actor, &detail) != BP_OK) {
            self->failed = detail.status;
            self->failure = detail;
        }
        (void)pthread_cond_signal(&self->wake_learner);
        (void)pthread_cond_broadcast(&self->wake_actors); /* boundary rows are no steps: the claim may have been too large */
    }
    self->active--;
    (void)pthread_cond_signal(&self->wake_learner);
    (void)pthread_cond_broadcast(&self->wake_actors);
    (void)pthread_mutex_unlock(&self->lock);
    return NULL;
}

BPI_FN void bpi_async_join(bp_run *run) {
    struct bpi_run *self = run->self;
    size_t i;
    if (!self->threads_running) return;
    (void)pthread_mutex_lock(&self->lock);
    self->quit = true;
    (void)pthread_cond_broadcast(&self->wake_actors);
    (void)pthread_mutex_unlock(&self->lock);
    for (i = 0; i < run->config.actors; i++) (void)pthread_join(self->thread[i], NULL);
    self->threads_running = false;
    self->quit = false;
}

BPI_FN void bpi_async_lock(bp_run *run) {
    if (run->self->threads_running) (void)pthread_mutex_lock(&run->self->lock);
}

BPI_FN void bpi_async_unlock(bp_run *run) {
    if (run->self->threads_running) (void)pthread_mutex_unlock(&run->self->lock);
}

/* All actors have left, and the learner has had its share. Called with the lock. */
BPI_FN bool bpi_async_over(const bp_run *run) {
    return run->env_steps >= run->config.env_steps && run->self->active == 0 && !bpi_run_may_learn(run);
}

BPI_FN bp_status bpi_async_launch(bp_run *run, bp_error *error) {
    struct bpi_run *self = run->self;
    const size_t n = run->config.actors;
    size_t i;
    if (self->threads_running) return BP_OK;
    self->quit = self->pause = false;
    self->held = 0;
    self->active = n;
    self->waiting = 0;
    self->in_flight = 0;
    bpi_publish(self->published, run->learner);
    for (i = 0; i < n; i++) {
        if (pthread_create(&self->thread[i], NULL, bpi_async_actor, &self->actor[i]) != 0) {
            const size_t made = i;
            (void)pthread_mutex_lock(&self->lock);
            self->quit = true;
            (void)pthread_cond_broadcast(&self->wake_actors);
            (void)pthread_mutex_unlock(&self->lock);
            for (i = 0; i < made; i++) (void)pthread_join(self->thread[i], NULL);
            self->quit = false;
            return bpi_fail(error, BP_ERR_THREAD, "run: could not start actor thread %lu of %lu", (unsigned long)made,
                            (unsigned long)n);
        }
    }
    self->threads_running = true;
    return BP_OK;
}

/* Everybody at a sequence boundary and asleep, until bpi_async_go_on(). Both are called without the lock. */
BPI_FN void bpi_async_hold(bp_run *run) {
    struct bpi_run *self = run->self;
    if (!self->threads_running || self->held++ > 0) return;
    (void)pthread_mutex_lock(&self->lock);
    self->pause = true;
    while (self->waiting < self->active) (void)pthread_cond_wait(&self->wake_learner, &self->lock);
    (void)pthread_mutex_unlock(&self->lock);
}

BPI_FN void bpi_async_go_on(bp_run *run) {
    struct bpi_run *self = run->self;
    if (!self->threads_running || --self->held > 0) return;
    (void)pthread_mutex_lock(&self->lock);
    self->pause = false;
    (void)pthread_cond_broadcast(&self->wake_actors);
    (void)pthread_mutex_unlock(&self->lock);
}

/* A learner round: one step, or, while there is not enough data, one look at what an actor brought. */
BPI_FN bp_status bpi_run_round_async(bp_run *run, bp_error *error) {
    struct bpi_run *self = run->self;
    bp_status status = bpi_async_launch(run, error);
    bool learn;
    if (status != BP_OK) return status;
    (void)pthread_mutex_lock(&self->lock);
    learn = bpi_run_may_learn(run);
    if (!learn && self->active > 0 && self->failed == BP_OK) {
        (void)pthread_cond_wait(&self->wake_learner, &self->lock);
        learn = bpi_run_may_learn(run);
    }
    if (self->failed != BP_OK) {
        status = self->failed;
        if (error) *error = self->failure;
    } else if (learn) {
        status = bpi_run_sample(run, error);
        (void)pthread_cond_broadcast(&self->wake_actors);
    }
    (void)pthread_mutex_unlock(&self->lock);
    if (status == BP_OK && learn) {
        status = bpi_run_learn(run, error);
        (void)pthread_mutex_lock(&self->lock);
        bpi_publish(self->published, run->learner);
        (void)pthread_mutex_unlock(&self->lock);
    }
    return status;
}
#else
BPI_FN void bpi_async_lock(bp_run *run) { BPI_UNUSED(run); }
BPI_FN void bpi_async_unlock(bp_run *run) { BPI_UNUSED(run); }
BPI_FN bool bpi_async_over(const bp_run *run) { return run->env_steps >= run->config.env_steps; }
BPI_FN void bpi_async_join(bp_run *run) { BPI_UNUSED(run); }
BPI_FN void bpi_async_hold(bp_run *run) { BPI_UNUSED(run); }
BPI_FN void bpi_async_go_on(bp_run *run) { BPI_UNUSED(run); }
BPI_FN bp_status bpi_run_round_async(bp_run *run, bp_error *error) {
    BPI_UNUSED(run);
    return bpi_fail(error, BP_ERR_UNSUPPORTED, "run: ASYNC mode needs BPRIOR_THREADS");
}
#endif

/* ---- 19.8 making and unmaking --------------------------------------------- */

BPI_FN bp_status bpi_run_check(const bp_run_config *c, bp_error *error) {
    const bp_status status = bpi_check_cookie(c->cookie, BP_COOKIE(bp_run_config), "bp_run_config", error);
    if (status != BP_OK) return status;
    if (!c->envs.make) return bpi_fail(error, BP_ERR_ARGUMENT, "run: envs.make is NULL; set envs to an environment maker");
    if (c->mode != BP_RUN_SYNC && c->mode != BP_RUN_ASYNC)
        return bpi_fail(error, BP_ERR_ARGUMENT, "run: mode is %d, must be BP_RUN_SYNC or BP_RUN_ASYNC", (int)c->mode);
    if (c->actors < 1 || c->actors > 65536)
        return bpi_fail(error, BP_ERR_ARGUMENT, "run: actors is %lu, must be 1 to 65536", (unsigned long)c->actors);
    if (c->threads < 1 || c->threads > 256)
        return bpi_fail(error, BP_ERR_ARGUMENT, "run: threads is %lu, must be 1 to 256", (unsigned long)c->threads);
    if (c->replay_capacity < 1) return bpi_fail(error, BP_ERR_ARGUMENT, "run: replay_capacity is 0, must be at least 1");
    if (!(c->samples_per_insert >= 0.0) || !bpi_finite_d(c->samples_per_insert))
        return bpi_fail(error, BP_ERR_ARGUMENT, "run: samples_per_insert is %g, must be finite and >= 0",
                        c->samples_per_insert);
    if (c->evaluate_every && c->evaluation_episodes < 1)
        return bpi_fail(error, BP_ERR_ARGUMENT,
                        "run: evaluation_episodes is 0; to have no evaluations set evaluate_every to 0");
    if (c->resume && !c->directory) return bpi_fail(error, BP_ERR_ARGUMENT, "run: resume needs a directory");
    if (c->directory && (c->directory[0] == '\0' || strlen(c->directory) + 64 > BP_PATH))
        return bpi_fail(error, BP_ERR_ARGUMENT, "run: directory must have 1 to %d bytes", BP_PATH - 64);
#ifndef BPRIOR_THREADS
    if (c->mode == BP_RUN_ASYNC)
        return bpi_fail(error, BP_ERR_UNSUPPORTED, "run: ASYNC mode needs the library compiled with BPRIOR_THREADS");
#endif
    return BP_OK;
}

/* Make one environment with canonical actions; `raw` gets the spec it came with. */
BPI_FN bp_status bpi_run_make_env(bp_env *env, bp_spec *raw, const bp_run_config *config, size_t index,
                                  const bp_allocator *memory, bp_error *error) {
    bool canonical = true;
    size_t i;
    bp_status status;
    memset(env, 0, sizeof *env);
    (void)bpi_ok(error);
    status = config->envs.make(config->envs.ctx, index, env, error);
    if (status != BP_OK) {
        memset(env, 0, sizeof *env);
        if (error && error->text[0] == '\0')
            return bpi_fail(error, status, "run: making environment %lu failed: %s", (unsigned long)index,
                            bp_status_str(status));
        return status;
    }
    if (!env->reset || !env->step) {
        bp_env_close(env);
        return bpi_fail(error, BP_ERR_ARGUMENT, "run: environment %lu has no reset or no step function", (unsigned long)index);
    }
    status = bp_spec_check(&env->spec, error);
    *raw = env->spec;
    if (status == BP_OK && env->spec.action_kind == BP_ACTION_CONTINUOUS) {
        for (i = 0; i < env->spec.action_size; i++)
            if (!(env->spec.action_low[i] == -1.0 && env->spec.action_high[i] == 1.0)) canonical = false;
        if (!canonical) status = bp_env_rescale_actions(env, memory, error);
    }
    if (status != BP_OK) bp_env_close(env);
    return status;
}

/* All arrays whose sizes follow from learner and configuration, in one block: run once to measure, once to place. */
BPI_FN void bpi_run_layout(bp_run *run, bp_arena *arena) {
    struct bpi_run *self = run->self;
    const bp_run_config *c = &run->config;
    const bool async = c->mode == BP_RUN_ASYNC;
    const bp_rs0 *l = run->learner;
    const size_t O = run->spec.observation_size, A = run->spec.action_size;
    const size_t work = bp_rs0_act_work_reals(l); /* enough to play the prior alone, too: it advances its memory with it */
    const bool placing = arena->base != NULL;
    size_t i, cells;

    self->compute = (bp_compute *)bp_arena_take(arena, self->computes, sizeof(bp_compute));
    for (i = 0; i < self->computes; i++) {
        void *scratch = bp_arena_take(arena, bp_compute_bytes(), 1);
        if (placing && scratch && self->compute) {
            bp_error ignored; /* the learner has already proved that this kernel exists */
            (void)bp_compute_init(&self->compute[i], l->config.kernel, scratch, &ignored);
        }
    }
    {
        bp_real *data = bp_arena_real(arena, bp_batch_reals(&run->replay->config, l->config.batch));
        if (data) bp_batch_init(&self->batch, data, &run->replay->config, l->config.batch);
    }
    self->judge_observation = bp_arena_real(arena, O);
    self->judge_seen = bp_arena_real(arena, O);
    self->judge_action = bp_arena_real(arena, A);
    self->judge_dist = bp_arena_real(arena, l->policy.dist_size);
    self->judge_work = bp_arena_real(arena, work);
    self->judge_state = bp_arena_real(arena, l->state_size + l->latent.size + 1); /* a prior's: its own z beside its memories */
    if (!bp_size_mul(&cells, c->actors, self->sequence_reals)) arena->overflow = true;
    self->sequences = bp_arena_real(arena, cells);
    if (!bp_size_mul(&cells, c->actors, l->state_size)) arena->overflow = true;
    self->states = bp_arena_real(arena, cells);
    for (i = 0; i < c->actors; i++) {
        bpi_actor *actor = &self->actor[i];
        if (self->sequences)
            bp_sequence_init(&actor->sequence, self->sequences + i * self->sequence_reals, &run->replay->config);
        actor->next = bp_arena_real(arena, O);
        actor->seen = bp_arena_real(arena, O);
        actor->action = bp_arena_real(arena, A);
        actor->state = self->states + (self->states ? i * l->state_size : 0);
        actor->work = bp_arena_real(arena, work);
        if (async) {
            actor->params = bp_arena_real(arena, bpi_published_reals(l));
            if (run->normaliser.size) {
                size_t bytes = 0;
                void *state;
                (void)bp_normaliser_size(O, &bytes, NULL);
                state = bp_arena_take(arena, bytes, 1);
                if (state) (void)bp_normaliser_init(&actor->normaliser, O, state, bytes, NULL);
            }
        }
    }
    self->actor_u64 = (uint64_t *)bp_arena_take(arena, c->actors * BPI_ACTOR_U64, sizeof(uint64_t));
    self->actor_f64 = (double *)bp_arena_take(arena, c->actors, sizeof(double));
    self->rng_u64 = (uint64_t *)bp_arena_take(arena, (c->actors + 2) * BPI_RNG_U64, sizeof(uint64_t));
    self->fingerprint = (double *)bp_arena_take(arena, BPI_FINGERPRINT, sizeof(double));
#ifdef BPRIOR_THREADS
    if (async) {
        self->thread = (pthread_t *)bp_arena_take(arena, c->actors, sizeof(pthread_t));
        self->published = bp_arena_real(arena, bpi_published_reals(l));
    }
#endif
}

/* Everything but files. On failure the caller destroys what there is. */
BPI_FN bp_status bpi_run_build(bp_run *run, bp_error *error) {
    struct bpi_run *self = run->self;
    bp_run_config *c = &run->config;
    const bp_allocator *memory = self->memory;
    bp_replay_config replay;
    bp_arena arena;
    bp_spec raw;
    size_t i;
    bp_status status;

    for (i = 0; i <= c->actors; i++) { /* number `actors` is for evaluation */
        bp_env *env = i < c->actors ? &self->actor[i].env : &self->judge;
        status = bpi_run_make_env(env, &raw, c, i, memory, error);
        if (status != BP_OK) return status;
        if (i == 0) {
            run->env_spec = raw;
            run->spec = env->spec;
        } else if (!bp_spec_equal(&raw, &run->env_spec)) {
            return bpi_fail(error, BP_ERR_MISMATCH, "run: environment %lu has another spec than environment 0",
                            (unsigned long)i);
        }
    }

    status = bp_rs0_create(&run->learner, &run->spec, &c->learner, memory, error);
    if (status != BP_OK) return status;
    c->learner = run->learner->config;

    replay = bp_rs0_replay_config(run->learner);
    replay.capacity = c->replay_capacity;
    status = bp_replay_create(&run->replay, &replay, memory, error);
    if (status != BP_OK) return status;
    self->sequence_reals = bp_sequence_reals(&replay);

    if (c->normalise) {
        status = bp_normaliser_create(&run->normaliser, run->spec.observation_size, memory, error);
        if (status != BP_OK) return status;
        if (c->learner.n_tasks > 1) {
            const bp_field *task = bp_spec_find(&run->spec, c->learner.task_field);
            if (task) bp_normaliser_exempt(&run->normaliser, task->offset, task->size);
        }
    }
    if (c->threads > 1) {
        status = bp_team_create(&self->team, c->threads, memory, error);
        if (status == BP_ERR_UNSUPPORTED) { /* the result is the same, only later */
            bpi_log_line(&c->log, 1, "compiled without BPRIOR_THREADS: one thread instead of %lu", (unsigned long)c->threads);
            c->threads = 1;
        } else if (status != BP_OK) {
            return status;
        }
    }

    self->computes = c->threads + (c->mode == BP_RUN_ASYNC ? c->actors : 0);
    arena = bp_arena_make(NULL, 0);
    bpi_run_layout(run, &arena);
    if (arena.overflow) return bpi_fail(error, BP_ERR_SIZE, "run: sizes overflow");
    self->buffers_bytes = arena.used;
    self->buffers = bp_alloc(memory, self->buffers_bytes);
    if (!self->buffers)
        return bpi_fail(error, BP_ERR_MEMORY, "run: no memory for %lu bytes of buffers", (unsigned long)self->buffers_bytes);
    arena = bp_arena_make(self->buffers, self->buffers_bytes);
    bpi_run_layout(run, &arena);
    if (arena.overflow) return bpi_fail(error, BP_ERR_SIZE, "run: sizes overflow");

    for (i = 0; i < c->actors; i++) {
        bpi_actor *actor = &self->actor[i];
        actor->run = run;
        actor->index = i;
        actor->rng = bp_rng_make(c->seed, BPI_STREAM_ACTOR + (uint64_t)i);
    }
    self->learner_rng = bp_rng_make(c->seed, BPI_STREAM_LEARNER);
    self->replay_rng = bp_rng_make(c->seed, BPI_STREAM_REPLAY);
    self->next_log = c->log_every ? c->log_every : UINT64_MAX;
    self->next_checkpoint = c->checkpoint_every ? c->checkpoint_every : UINT64_MAX;
    run->recent_return = bpi_nan();
    run->evaluation.mean = run->evaluation.std = run->evaluation.length = bpi_nan();
#ifdef BPRIOR_THREADS
    if (c->mode == BP_RUN_ASYNC) {
        if (pthread_mutex_init(&self->lock, NULL) != 0) return bpi_fail(error, BP_ERR_THREAD, "run: no mutex");
        if (pthread_cond_init(&self->wake_actors, NULL) != 0) {
            (void)pthread_mutex_destroy(&self->lock);
            return bpi_fail(error, BP_ERR_THREAD, "run: no condition variable");
        }
        if (pthread_cond_init(&self->wake_learner, NULL) != 0) {
            (void)pthread_cond_destroy(&self->wake_actors);
            (void)pthread_mutex_destroy(&self->lock);
            return bpi_fail(error, BP_ERR_THREAD, "run: no condition variable");
        }
        self->threads_ready = true;
    }
#endif
    bpi_run_fingerprint(run);
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_run_create(bp_run **out, const bp_run_config *config, const bp_allocator *allocator,
                                   bp_error *error) {
    bp_arena arena = bp_arena_make(NULL, 0);
    bp_run *run;
    struct bpi_run *self;
    bpi_actor *actors;
    void *block;
    bp_status status;
    int pass;

    *out = NULL;
    status = bpi_run_check(config, error);
    if (status != BP_OK) return status;
    block = NULL;
    run = NULL;
    self = NULL;
    actors = NULL;
    for (pass = 0; pass < 2; pass++) {
        const size_t bytes = arena.used;
        if (pass == 1) {
            if (arena.overflow) return bpi_fail(error, BP_ERR_SIZE, "run: sizes overflow");
            block = bp_alloc(allocator, bytes);
            if (!block) return bpi_fail(error, BP_ERR_MEMORY, "run: no memory for %lu bytes", (unsigned long)bytes);
            arena = bp_arena_make(block, bytes);
        }
        run = (bp_run *)bp_arena_take(&arena, 1, sizeof *run);
        self = (struct bpi_run *)bp_arena_take(&arena, 1, sizeof *self);
        actors = (bpi_actor *)bp_arena_take(&arena, config->actors, sizeof *actors);
        if (pass == 1) {
            if (arena.overflow || !run || !self || !actors) {
                bp_free(allocator, block, bytes);
                return bpi_fail(error, BP_ERR_SIZE, "run: sizes overflow");
            }
            bpi_own(&self->owner, allocator, bytes);
        }
    }
    self->block = block;
    run->config = *config;
    run->self = self;
    self->actor = actors;
    if (allocator) {
        self->allocator = *allocator;
        self->memory = &self->allocator;
    }
    if (config->directory) {
        memcpy(self->directory, config->directory, strlen(config->directory) + 1);
        run->config.directory = self->directory;
        (void)bpi_path_join(self->checkpoint, self->directory, "checkpoint");
    }
    status = bpi_run_build(run, error);
    if (status == BP_OK && config->directory) status = bpi_run_open_files(run, error);
    if (status != BP_OK) {
        bp_run_destroy(run);
        return status;
    }
    self->clock = self->status_clock = bpi_wall_seconds();
    self->status_steps = run->env_steps;
    *out = run;
    return bpi_ok(error);
}

BPRIOR_API void bp_run_destroy(bp_run *run) {
    struct bpi_run *self;
    size_t i;
    if (!run) return;
    self = run->self;
    bpi_async_join(run);
#ifdef BPRIOR_THREADS
    if (self->threads_ready) {
        (void)pthread_cond_destroy(&self->wake_learner);
        (void)pthread_cond_destroy(&self->wake_actors);
        (void)pthread_mutex_destroy(&self->lock);
    }
#endif
    bp_csv_close(&self->csv);
    bp_events_close(&self->events);
    for (i = 0; i < run->config.actors; i++) bp_env_close(&self->actor[i].env);
    bp_env_close(&self->judge);
    bp_team_destroy(self->team);
    bp_normaliser_destroy(&run->normaliser);
    bp_replay_destroy(run->replay);
    bp_rs0_destroy(run->learner);
    if (self->env_state) bp_free(self->memory, self->env_state, self->env_state_bytes);
    if (self->buffers) bp_free(self->memory, self->buffers, self->buffers_bytes);
    {
        const bp_owner owner = self->owner;
        bpi_disown(&owner, self->block);
    }
}

/* ---- 19.9 what determines a run -------------------------------------------
 * Settings that change the result, as numbers with names, in a fixed order: written beside the results for people, and
 * compared when a run is resumed. Where to stop, what to log and how many threads are not among them. 64-bit
 * numbers are cut in two, since a double holds 53 bits. */
typedef void (*bpi_setting_fn)(void *ctx, const char *name, double value);

BPI_FN void bpi_setting_u64(bpi_setting_fn fn, void *ctx, const char *name, uint64_t value) {
    char part[96];
    fn(ctx, name, (double)(uint32_t)(value & 0xFFFFFFFFu));
    (void)snprintf(part, sizeof part, "%s (upper 32 bits)", name);
    if (value >> 32) fn(ctx, part, (double)(uint32_t)(value >> 32));
    else fn(ctx, part, 0.0);
}

BPI_FN void bpi_setting_fields(bpi_setting_fn fn, void *ctx, const char *name, const bp_field_set *set) {
    uint64_t hash = UINT64_C(1469598103934665603); /* FNV-1a over the indices: order counts */
    size_t i;
    for (i = 0; i < set->n; i++) hash = (hash ^ (uint64_t)(set->index[i] + 1)) * UINT64_C(1099511628211);
    fn(ctx, name, (double)(uint32_t)(hash ^ hash >> 32));
}

BPI_FN void bpi_setting_policy(bpi_setting_fn fn, void *ctx, const char *prefix, const bp_policy *p, const bp_policy_config *c) {
    const bp_mlp_config *net = bpi_policy_torso(p);
    char name[64];
    size_t i;
#define BPI_P(label, value)                                        \
    do {                                                           \
        (void)snprintf(name, sizeof name, "%s.%s", prefix, label); \
        fn(ctx, name, (double)(value));                            \
    } while (0)
    (void)snprintf(name, sizeof name, "%s.fields", prefix);
    bpi_setting_fields(fn, ctx, name, &p->fields);
    BPI_P("hidden_layers", net->hidden_layers);
    for (i = 0; i < BP_MAX_LAYERS; i++) {
        char label[24];
        (void)snprintf(label, sizeof label, "width[%lu]", (unsigned long)i);
        BPI_P(label, i < net->hidden_layers ? net->width[i] : 0);
    }
    BPI_P("activation", net->activation);
    BPI_P("layer_norm", net->layer_norm);
    BPI_P("init_scale", c->init_scale);
    BPI_P("head_scale", c->head_scale);
    BPI_P("init_std", p->head.init_std);
    BPI_P("min_std", p->head.min_std);
    BPI_P("tanh_mean", p->head.tanh_mean);
    BPI_P("lstm", p->rnn.units);
#undef BPI_P
}

BPI_FN void bpi_run_settings(const bp_run *run, bpi_setting_fn fn, void *ctx) {
    const bp_run_config *c = &run->config;
    const bp_rs0_config *l = &run->learner->config;
    const bp_adam_config *adam[3];
    static const char *const adam_name[3] = {"policy_adam", "prior_adam", "critic_adam"};
    const bp_schedule *schedule[2];
    static const char *const schedule_name[2] = {"alpha", "entropy_cost"};
    char name[64];
    size_t i;
#define BPI_S(label, value) fn(ctx, label, (double)(value))
    BPI_S("sizeof(bp_real)", sizeof(bp_real));
    bpi_setting_u64(fn, ctx, "seed", c->seed);
    bpi_setting_u64(fn, ctx, "learner.seed", l->seed);
    BPI_S("mode", c->mode);
    BPI_S("actors", c->actors);
    BPI_S("replay_capacity", c->replay_capacity);
    BPI_S("min_sequences", c->min_sequences);
    BPI_S("samples_per_insert", c->samples_per_insert);
    BPI_S("normalise", c->normalise);
    bpi_setting_policy(fn, ctx, "policy", &run->learner->policy, &l->policy);
    BPI_S("prior_kind", l->prior_kind);
    BPI_S("prior_std", l->prior_std);
    if (run->learner->prior.n_params) bpi_setting_policy(fn, ctx, "prior", &run->learner->prior, &l->prior);
    BPI_S("latent.size", l->latent.size);
    if (l->latent.size) {
        bpi_setting_policy(fn, ctx, "latent.high", &run->learner->high, &l->latent.high);
        if (run->learner->high_prior.n_params)
            bpi_setting_policy(fn, ctx, "latent.high_prior", &run->learner->high_prior, &l->latent.high_prior);
        BPI_S("latent.prior_kind", l->latent.prior_kind);
        BPI_S("latent.phi", l->latent.phi);
        BPI_S("latent.hold", l->latent.hold);
        BPI_S("latent.shared_low", l->latent.shared_low);
        BPI_S("latent.critic_sees_latent", l->latent.critic_sees_latent);
        BPI_S("latent.joint_ratio", l->latent.joint_ratio);
    }
    BPI_S("critic_lstm", l->critic_lstm);
    BPI_S("memory_start", l->memory_start);
    BPI_S("burn_in", l->burn_in);
    bpi_setting_fields(fn, ctx, "critic_fields", &run->learner->critic_fields);
    BPI_S("critic_layers", l->critic_layers);
    for (i = 0; i < BP_MAX_LAYERS; i++) {
        (void)snprintf(name, sizeof name, "critic_width[%lu]", (unsigned long)i);
        BPI_S(name, i < l->critic_layers ? l->critic_width[i] : 0);
    }
    BPI_S("critic_activation", l->critic_activation);
    BPI_S("critic_layer_norm", l->critic_layer_norm);
    BPI_S("critic_output_scale", l->critic_output_scale);
    BPI_S("twin_critics", l->twin_critics);
    BPI_S("n_tasks", l->n_tasks);
    BPI_S("batch", l->batch);
    BPI_S("length", l->length);
    BPI_S("samples", l->samples);
    BPI_S("discount", l->discount);
    BPI_S("lambda", l->lambda);
    BPI_S("value_source", l->value_source);
    BPI_S("kl_source", l->kl_source);
    schedule[0] = &l->alpha;
    schedule[1] = &l->entropy_cost;
    for (i = 0; i < 2; i++) {
        (void)snprintf(name, sizeof name, "%s.kind", schedule_name[i]);
        BPI_S(name, schedule[i]->kind);
        (void)snprintf(name, sizeof name, "%s.start", schedule_name[i]);
        BPI_S(name, schedule[i]->start);
        (void)snprintf(name, sizeof name, "%s.end", schedule_name[i]);
        BPI_S(name, schedule[i]->end);
        (void)snprintf(name, sizeof name, "%s.steps", schedule_name[i]);
        bpi_setting_u64(fn, ctx, name, schedule[i]->steps);
    }
    BPI_S("alpha_mode", l->alpha_mode);
    BPI_S("kl_target", l->kl_target);
    BPI_S("alpha_lr", l->alpha_lr);
    BPI_S("entropy_mode", l->entropy_mode);
    BPI_S("entropy_target", l->entropy_target);
    BPI_S("entropy_lr", l->entropy_lr);
    adam[0] = &l->policy_adam;
    adam[1] = &l->prior_adam;
    adam[2] = &l->critic_adam;
    for (i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "%s.lr", adam_name[i]);
        BPI_S(name, adam[i]->lr);
        (void)snprintf(name, sizeof name, "%s.beta1", adam_name[i]);
        BPI_S(name, adam[i]->beta1);
        (void)snprintf(name, sizeof name, "%s.beta2", adam_name[i]);
        BPI_S(name, adam[i]->beta2);
        (void)snprintf(name, sizeof name, "%s.epsilon", adam_name[i]);
        BPI_S(name, adam[i]->epsilon);
        (void)snprintf(name, sizeof name, "%s.clip_norm", adam_name[i]);
        BPI_S(name, adam[i]->clip_norm);
    }
    BPI_S("target_period", l->target_period);
    BPI_S("tau", l->tau);
    BPI_S("shards", l->shards);
#undef BPI_S
}

BPI_FN void bpi_setting_keep(void *ctx, const char *name, double value) {
    struct bpi_run *self = (struct bpi_run *)ctx;
    BPI_UNUSED(name);
    if (self->fingerprint_n < BPI_FINGERPRINT) self->fingerprint[self->fingerprint_n++] = value;
}

BPI_FN void bpi_run_fingerprint(bp_run *run) {
    run->self->fingerprint_n = 0;
    bpi_run_settings(run, bpi_setting_keep, run->self);
}

/* Finds the first setting that differs from a stored list. */
typedef struct bpi_setting_diff {
    const double *stored;
    size_t n, at;
    bool found;
    char name[64];
    double have, want;
} bpi_setting_diff;

BPI_FN void bpi_setting_compare(void *ctx, const char *name, double value) {
    bpi_setting_diff *d = (bpi_setting_diff *)ctx;
    const size_t i = d->at++;
    if (d->found || i >= d->n || d->stored[i] == value) return;
    d->found = true;
    (void)snprintf(d->name, sizeof d->name, "%s", name);
    d->have = d->stored[i];
    d->want = value;
}

BPI_FN void bpi_setting_write(void *ctx, const char *name, double value) {
    char number[40], line[128];
    (void)bpi_format_number(number, value, 17);
    (void)snprintf(line, sizeof line, "%s = %s\n", name, number);
    (void)bp_file_write((bp_file *)ctx, line, strlen(line));
}

/* settings.txt: configuration, seed and version beside the results. */
BPI_FN bp_status bpi_run_write_settings(const bp_run *run, bp_error *error) {
    char path[BP_PATH], line[128];
    bp_file file;
    bp_status status;
    if (!bpi_path_join(path, run->self->directory, "settings.txt")) return BP_OK;
    status = bp_file_begin(&file, path, error);
    if (status != BP_OK) return status;
    (void)snprintf(line, sizeof line, "bprior = %s\nenvironment = %s\nkernel = %s\n", BPRIOR_VERSION, run->env_spec.name,
                   bp_kernel_name(run->self->compute[0].kernel));
    (void)bp_file_write(&file, line, strlen(line));
    bpi_setting_write(&file, "env_steps", (double)run->config.env_steps);
    bpi_setting_write(&file, "learner_steps", (double)run->config.learner_steps);
    bpi_run_settings(run, bpi_setting_write, &file);
    return bp_file_commit(&file, error);
}

/* ---- 19.10 checkpoints ----------------------------------------------------
 *
 *     checkpoint/latest                         a few lines: which generation counts, sizes and checksums of its files
 *     checkpoint/<generation>.state.safetensors    weights, moments, counters, random and environment states
 *     checkpoint/<generation>.replay.safetensors   the sequences
 *
 * A generation is written under new names and forced to disk; the logs are forced to disk; then `latest` is replaced by
 * renaming, which either happens or does not; then the generation before is removed. A power cut between any two
 * of these leaves a `latest` whose files are whole, and logs that are at least as long as it says. */

typedef struct bpi_latest {
    uint64_t generation, state_bytes, replay_bytes;
    uint32_t state_crc, replay_crc;
    bool finished;
} bpi_latest;

BPI_FN bool bpi_run_path(char *path, const bp_run *run, uint64_t generation, const char *what) {
    char name[64];
    (void)snprintf(name, sizeof name, "%08lu.%s.safetensors", (unsigned long)generation, what);
    return bpi_path_join(path, run->self->checkpoint, name);
}

BPI_FN void bpi_run_forget_generation(const bp_run *run, uint64_t generation) {
    char path[BP_PATH + 8];
    static const char *const what[2] = {"state", "replay"};
    int i;
    for (i = 0; i < 2; i++) {
        if (!bpi_run_path(path, run, generation, what[i])) continue;
        bpi_io_remove(path);
        memcpy(path + strlen(path), ".tmp", 5);
        bpi_io_remove(path);
    }
}

/* Sizes are hexadecimal, in halves: unsigned long has 32 bits on some machines. */
BPI_FN size_t bpi_latest_text(char *text, size_t capacity, const bpi_latest *l) {
    int n = snprintf(text, capacity,
                     "bprior checkpoint 1\ngeneration %lu\nfinished %d\nstate %08lx%08lx %08lx\nreplay %08lx%08lx %08lx\n",
                     (unsigned long)l->generation, l->finished ? 1 : 0, (unsigned long)(l->state_bytes >> 32),
                     (unsigned long)(l->state_bytes & 0xFFFFFFFFu), (unsigned long)l->state_crc,
                     (unsigned long)(l->replay_bytes >> 32), (unsigned long)(l->replay_bytes & 0xFFFFFFFFu),
                     (unsigned long)l->replay_crc);
    n += snprintf(text + n, capacity - (size_t)n, "check %08lx\n", (unsigned long)bp_crc32c(0, text, (size_t)n));
    return (size_t)n;
}

/* After `word`, a number in base 10 or 16. */
BPI_FN bool bpi_latest_number(const char **at, const char *word, unsigned base, uint64_t *out) {
    const size_t n = strlen(word);
    uint64_t value = 0;
    const char *c;
    if (strncmp(*at, word, n) != 0) return false;
    for (c = *at + n; value < ((uint64_t)1 << 56); c++) {
        unsigned digit;
        if (*c >= '0' && *c <= '9') digit = (unsigned)(*c - '0');
        else if (base == 16 && *c >= 'a' && *c <= 'f') digit = (unsigned)(*c - 'a') + 10;
        else break;
        value = value * base + digit;
    }
    if (c == *at + n) return false;
    *out = value;
    *at = c;
    return true;
}

/* Read `latest`. BP_ERR_EMPTY: there is none. A strict way of checking: what was understood must, written anew, give the
 * same bytes. */
BPI_FN bp_status bpi_run_read_latest(const bp_run *run, bpi_latest *l, bp_error *error) {
    char path[BP_PATH], text[512], again[512];
    const char *at = text;
    uint64_t finished = 0, state_crc = 0, replay_crc = 0;
    size_t n;
    int reason;
    void *file;
    memset(l, 0, sizeof *l);
    (void)bpi_path_join(path, run->self->checkpoint, "latest");
    file = bpi_io_open(path, BPI_IO_READ);
    if (!file)
        return errno == ENOENT ? bpi_fail(error, BP_ERR_EMPTY, "there is no checkpoint in '%.150s'", run->self->directory)
                               : bpi_io_fail(error, "open", path, errno);
    n = bpi_io_read(file, text, sizeof text - 1);
    reason = n == 0 ? errno : 0;
    (void)bpi_io_close(file);
    if (reason) return bpi_io_fail(error, "read", path, reason);
    text[n] = '\0';
    if (bpi_latest_number(&at, "bprior checkpoint 1\ngeneration ", 10, &l->generation) &&
        bpi_latest_number(&at, "\nfinished ", 10, &finished) && bpi_latest_number(&at, "\nstate ", 16, &l->state_bytes) &&
        bpi_latest_number(&at, " ", 16, &state_crc) && bpi_latest_number(&at, "\nreplay ", 16, &l->replay_bytes) &&
        bpi_latest_number(&at, " ", 16, &replay_crc)) {
        l->finished = finished != 0;
        l->state_crc = (uint32_t)(state_crc & 0xFFFFFFFFu);
        l->replay_crc = (uint32_t)(replay_crc & 0xFFFFFFFFu);
        if (bpi_latest_text(again, sizeof again, l) == n && memcmp(text, again, n) == 0) return BP_OK;
    }
    return bpi_fail(error, BP_ERR_FORMAT, "'%.180s' is damaged", path);
}

/* Is this file what `latest` says? */
BPI_FN bp_status bpi_run_verify(const char *path, uint64_t bytes, uint32_t crc, bp_error *error) {
    unsigned char piece[16384];
    uint64_t total = 0;
    uint32_t sum = 0;
    size_t n;
    int reason = 0;
    void *file = bpi_io_open(path, BPI_IO_READ);
    if (!file) return bpi_io_fail(error, "open", path, errno);
    while (total <= bytes && (n = bpi_io_read(file, piece, sizeof piece)) > 0) {
        sum = bp_crc32c(sum, piece, n);
        total += n;
    }
    reason = errno;
    (void)bpi_io_close(file);
    if (total < bytes && reason) return bpi_io_fail(error, "read", path, reason);
    if (total != bytes || sum != crc)
        return bpi_fail(error, BP_ERR_FORMAT, "'%.150s' is damaged: %s differs from what checkpoint/latest says", path,
                        total != bytes ? "its size" : "its checksum");
    return BP_OK;
}

BPI_FN void bpi_rng_pack(uint64_t out[BPI_RNG_U64], const bp_rng *rng) {
    size_t i;
    out[0] = rng->seed;
    out[1] = rng->stream;
    out[2] = rng->counter;
    for (i = 0; i < 4; i++) out[3 + i] = rng->block[i];
    out[7] = rng->words_left;
    out[8] = rng->normals_left;
    memcpy(out + 9, rng->normal, sizeof rng->normal);
}

BPI_FN bool bpi_rng_unpack(bp_rng *rng, const uint64_t in[BPI_RNG_U64]) {
    size_t i;
    if (in[7] > 4 || in[8] > 4) return false;
    rng->seed = in[0];
    rng->stream = in[1];
    rng->counter = in[2];
    for (i = 0; i < 4; i++) rng->block[i] = (uint32_t)(in[3 + i] & 0xFFFFFFFFu);
    rng->words_left = (uint32_t)in[7];
    rng->normals_left = (uint32_t)in[8];
    memcpy(rng->normal, in + 9, sizeof rng->normal);
    return bpi_finite_d(rng->normal[0]) && bpi_finite_d(rng->normal[1]) && bpi_finite_d(rng->normal[2]) &&
           bpi_finite_d(rng->normal[3]);
}

/* One list of the run's own counters, for packing (unpack false) and unpacking: the two cannot disagree. */
BPI_FN void bpi_run_counters(bp_run *run, bool unpack) {
    struct bpi_run *self = run->self;
    uint64_t *whole[18];
    double *real[24];
    size_t n = 0, m = 0, i;
    whole[n++] = &run->env_steps;
    whole[n++] = &run->episodes;
    whole[n++] = &run->rounds;
    whole[n++] = &run->faults;
    whole[n++] = &run->learner->steps;
    whole[n++] = &run->learner->rejected;
    whole[n++] = &self->window.steps;
    whole[n++] = &self->window.episodes;
    whole[n++] = &self->window.faults;
    whole[n++] = &self->metric_steps;
    whole[n++] = &self->sampled;
    whole[n++] = &self->next_evaluation;
    whole[n++] = &self->next_log;
    whole[n++] = &self->next_checkpoint;
    whole[n++] = &self->csv.bytes;
    whole[n++] = &self->events.bytes;
    real[m++] = &self->window.sum_return;
    real[m++] = &self->window.sum_square;
    real[m++] = &self->window.sum_length;
    real[m++] = &run->evaluation.mean;
    real[m++] = &run->evaluation.std;
    real[m++] = &run->evaluation.length;
    real[m++] = &run->recent_return;
    real[m++] = &run->seconds;
    real[m++] = &run->learner->alpha_dual.log_value;
    real[m++] = &run->learner->entropy_dual.log_value;
    for (i = 0; i < n; i++) {
        if (unpack) *whole[i] = self->run_u64[i];
        else self->run_u64[i] = *whole[i];
    }
    for (i = 0; i < m; i++) {
        if (unpack) *real[i] = self->run_f64[i];
        else self->run_f64[i] = *real[i];
    }
    for (i = 0; i < BPI_RUN_METRICS; i++) {
        if (unpack) self->metric_sum[i] = self->run_f64[m + i];
        else self->run_f64[m + i] = self->metric_sum[i];
    }
    if (unpack) {
        self->evaluated = self->run_u64[n] != 0;
        run->finished = self->run_u64[n + 1] != 0;
        run->evaluation.episodes = (size_t)self->run_u64[n + 2];
        run->evaluation.faults = (size_t)self->run_u64[n + 3];
    } else {
        self->run_u64[n] = self->evaluated ? 1 : 0;
        self->run_u64[n + 1] = run->finished ? 1 : 0;
        self->run_u64[n + 2] = run->evaluation.episodes;
        self->run_u64[n + 3] = run->evaluation.faults;
    }
}

/* Ask every environment for its state, one after the other into env_state. An environment that cannot save takes 0 bytes. */
BPI_FN bp_status bpi_run_save_environments(bp_run *run, bp_error *error) {
    struct bpi_run *self = run->self;
    size_t i, total = 0;
    for (i = 0; i < run->config.actors; i++) {
        bp_env *env = &self->actor[i].env;
        const size_t bytes = env->save && env->load && self->actor[i].started ? env->save(env->self, NULL, 0) : 0;
        self->actor_u64[i * BPI_ACTOR_U64 + 6] = bytes;
        if (!bp_size_add(&total, total, bytes))
            return bpi_fail(error, BP_ERR_SIZE, "checkpoint: environment states are too large");
    }
    if (total > self->env_state_bytes) { /* first time, or a state has grown */
        unsigned char *more = (unsigned char *)bp_alloc(self->memory, total);
        if (!more)
            return bpi_fail(error, BP_ERR_MEMORY, "checkpoint: no memory for %lu bytes of environment states",
                            (unsigned long)total);
        if (self->env_state) bp_free(self->memory, self->env_state, self->env_state_bytes);
        self->env_state = more;
        self->env_state_bytes = total;
    }
    self->env_state_used = 0;
    for (i = 0; i < run->config.actors; i++) {
        bp_env *env = &self->actor[i].env;
        const size_t bytes = (size_t)self->actor_u64[i * BPI_ACTOR_U64 + 6];
        if (bytes && env->save(env->self, self->env_state + self->env_state_used, bytes) != bytes)
            return bpi_fail(error, BP_ERR_ENV,
                            "checkpoint: environment %lu announced %lu bytes of state and saved another number",
                            (unsigned long)i, (unsigned long)bytes);
        self->env_state_used += bytes;
    }
    return BP_OK;
}

enum { BPI_STATE_ARRAYS = 10 };
/* Array i of the state file: first the learner's tensors. */
BPI_FN void bpi_run_state_array(void *ctx, size_t i, bp_array *out) {
    bp_run *run = (bp_run *)ctx;
    struct bpi_run *self = run->self;
    const size_t tensors = bp_rs0_tensor_count(run->learner), actors = run->config.actors;
    if (i < tensors) {
        bp_tensor tensor;
        bp_rs0_tensor(&tensor, run->learner, i);
        *out = bp_array_tensor(&tensor);
        return;
    }
    switch (i - tensors) {
    case 0: *out = bp_array_of("run/counters", BP_DTYPE_U64, 0, BPI_RUN_U64, self->run_u64); break;
    case 1: *out = bp_array_of("run/numbers", BP_DTYPE_F64, 0, BPI_RUN_F64, self->run_f64); break;
    case 2: *out = bp_array_of("run/settings", BP_DTYPE_F64, 0, self->fingerprint_n, self->fingerprint); break;
    case 3: *out = bp_array_of("run/random", BP_DTYPE_U64, actors + 2, BPI_RNG_U64, self->rng_u64); break;
    case 4: *out = bp_array_of("actors/counters", BP_DTYPE_U64, actors, BPI_ACTOR_U64, self->actor_u64); break;
    case 5: *out = bp_array_of("actors/return", BP_DTYPE_F64, 0, actors, self->actor_f64); break;
    case 6: *out = bp_array_of("actors/sequence", BP_DTYPE_REAL, actors, self->sequence_reals, self->sequences); break;
    case 7: *out = bp_array_of("actors/state", BP_DTYPE_REAL, actors, run->learner->state_size, self->states); break;
    case 8: *out = bp_array_of("normaliser", BP_DTYPE_F64, 0, run->normaliser.n_state, run->normaliser.state); break;
    default: *out = bp_array_of("actors/environment", BP_DTYPE_U8, 0, self->env_state_used, self->env_state); break;
    }
}

typedef struct bpi_replay_file {
    bp_run *run;
    uint64_t ring[3];
} bpi_replay_file;

BPI_FN void bpi_run_replay_array(void *ctx, size_t i, bp_array *out) {
    const bpi_replay_file *f = (const bpi_replay_file *)ctx;
    const bp_replay *replay = f->run->replay;
    if (i == 0) *out = bp_array_of("replay/ring", BP_DTYPE_U64, 0, 3, f->ring);
    else *out = bp_array_of("replay/sequences", BP_DTYPE_REAL, replay->count, replay->stride, replay->data);
}

BPRIOR_API bp_status bp_run_export(const bp_run *run, bp_rs0_who who, const char *path, bp_error *error) {
    bp_policy_export what;
    bp_status status;
    memset(&what, 0, sizeof what);
    what.spec = &run->env_spec;
    what.normaliser = run->normaliser.size ? &run->normaliser : NULL;
    status = bp_rs0_behavior(&what.behavior, run->learner, who, run->self->judge_observation, error);
    if (status != BP_OK) return status;
    if (who != BP_PLAY_PRIOR && run->learner->config.n_tasks > 1) {
        what.behavior.params = who == BP_PLAY_TARGET ? run->learner->policy_p.target : run->learner->policy_p.online;
        what.n_tasks = run->learner->config.n_tasks;
        what.task_field = run->learner->config.task_field;
    }
    return bp_policy_save(path, &what, error);
}

BPI_FN bp_status bpi_run_export_all(bp_run *run, bp_error *error) {
    char path[BP_PATH];
    bp_status status;
    if (!run->config.directory) return bpi_ok(error);
    (void)bpi_path_join(path, run->self->directory, "policy.safetensors");
    status = bp_run_export(run, BP_PLAY_POLICY, path, error);
    if (status != BP_OK || !bpi_rs0_has_prior_net(run->learner)) return status;
    (void)bpi_path_join(path, run->self->directory, "prior.safetensors");
    return bp_run_export(run, BP_PLAY_PRIOR, path, error);
}

BPI_FN bp_status bpi_run_write_checkpoint(bp_run *run, bp_error *error) {
    struct bpi_run *self = run->self;
    const uint64_t generation = self->generation + 1;
    char path[BP_PATH], text[512];
    bpi_facts facts;
    bpi_latest latest;
    bpi_replay_file ring;
    bp_file file;
    size_t i, n;
    bp_status status = bp_file_make_directory(self->checkpoint, error);
    if (status != BP_OK) return status;
    memset(&latest, 0, sizeof latest);
    latest.generation = generation;
    latest.finished = run->finished;

    bpi_run_tick(run);
    for (i = 0; i < run->config.actors; i++) {
        const bpi_actor *a = &self->actor[i];
        uint64_t *u = self->actor_u64 + i * BPI_ACTOR_U64;
        u[0] = a->episode;
        u[1] = a->length;
        u[2] = a->started ? 1 : 0;
        u[3] = a->ended ? 1 : 0;
        u[4] = a->sequence.filled;
        u[5] = a->tally.faults;
        u[7] = 0;
        self->actor_f64[i] = a->sum;
        bpi_rng_pack(self->rng_u64 + (2 + i) * BPI_RNG_U64, &a->rng);
    }
    bpi_rng_pack(self->rng_u64, &self->learner_rng);
    bpi_rng_pack(self->rng_u64 + BPI_RNG_U64, &self->replay_rng);
    bpi_run_counters(run, false);
    status = bpi_run_save_environments(run, error);
    if (status != BP_OK) return status;

    bpi_facts_spec(&facts, "bprior checkpoint 1", &run->spec);
    bpi_fact(&facts, "kernel", "%s", bp_kernel_name(self->compute[0].kernel));
    (void)bpi_run_path(path, run, generation, "state");
    status = bp_safetensors_write_from(path, bpi_run_state_array, run, bp_rs0_tensor_count(run->learner) + BPI_STATE_ARRAYS,
                                       facts.text, facts.n, &latest.state_crc, &latest.state_bytes, error);
    if (status == BP_OK) {
        ring.run = run;
        ring.ring[0] = run->replay->count;
        ring.ring[1] = run->replay->next;
        ring.ring[2] = run->replay->inserted;
        (void)bpi_run_path(path, run, generation, "replay");
        status = bp_safetensors_write_from(path, bpi_run_replay_array, &ring, 2, NULL, 0, &latest.replay_crc,
                                           &latest.replay_bytes, error);
    }
    if (status == BP_OK) status = bp_csv_sync(&self->csv, error);
    if (status == BP_OK) status = bp_events_sync(&self->events, error);
    if (status == BP_OK) {
        (void)bpi_path_join(path, self->checkpoint, "latest");
        status = bp_file_begin(&file, path, error);
        if (status == BP_OK) {
            n = bpi_latest_text(text, sizeof text, &latest);
            (void)bp_file_write(&file, text, n);
            status = bp_file_commit(&file, error);
        }
    }
    if (status != BP_OK) {
        bpi_run_forget_generation(run, generation);
        return status;
    }
    if (self->generation) bpi_run_forget_generation(run, self->generation);
    self->generation = generation;
    return bpi_run_export_all(run, error);
}

BPRIOR_API bp_status bp_run_checkpoint(bp_run *run, bp_error *error) {
    bp_status status;
    if (!run->config.directory) return bpi_ok(error);
    bpi_async_hold(run);
    status = bpi_run_write_checkpoint(run, error);
    bpi_async_go_on(run);
    return status;
}

/* Damage that the checksums do not show: somebody wrote the checksums anew. */
BPI_FN bp_status bpi_run_absurd(const char *path, const char *what, bp_error *error) {
    return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': %s is impossible", path, what);
}

BPI_FN bp_status bpi_run_load_replay(bp_run *run, const char *path, bp_error *error) {
    bp_replay *replay = run->replay;
    bp_safetensors *file;
    uint64_t ring[3];
    size_t count = 0;
    bp_status status = bp_safetensors_open(&file, path, run->self->memory, error);
    if (status != BP_OK) return status;
    status = bp_safetensors_read_u64(file, "replay/ring", ring, 3, error);
    if (status == BP_OK && (ring[0] > replay->config.capacity || ring[1] >= replay->config.capacity || ring[2] < ring[0] ||
                            (ring[0] < replay->config.capacity && (ring[1] != ring[0] || ring[2] != ring[0]))))
        status = bpi_run_absurd(path, "the state of the ring", error);
    if (status == BP_OK && !bp_size_mul(&count, (size_t)ring[0], replay->stride))
        status = bpi_run_absurd(path, "the number of sequences", error);
    if (status == BP_OK) status = bp_safetensors_read_real(file, "replay/sequences", replay->data, count, error);
    if (status == BP_OK) {
        replay->count = (size_t)ring[0];
        replay->next = (size_t)ring[1];
        replay->inserted = ring[2];
    }
    bp_safetensors_close(file);
    return status;
}

BPI_FN bp_status bpi_run_load_state(bp_run *run, const char *path, bp_error *error) {
    struct bpi_run *self = run->self;
    const size_t actors = run->config.actors;
    const bp_stored *stored;
    bp_safetensors *file;
    bp_spec spec;
    char text[200];
    const char *fact;
    size_t i, at = 0;
    bp_status status = bp_safetensors_open(&file, path, self->memory, error);
    if (status != BP_OK) return status;

    /* Is it ours at all, of this environment, of these settings? */
    fact = bp_safetensors_text(file, "format");
    if (!fact || strcmp(fact, "bprior checkpoint 1") != 0)
        status = bpi_fail(error, BP_ERR_MISMATCH, "'%.150s' is no checkpoint that this version reads", path);
    if (status == BP_OK) {
        /* canonical actions, so the box need not be stored: [-1,1] */
        bp_spec_begin(&spec, "");
        status = bpi_read_spec_text(&spec, file, error);
        if (status == BP_OK && bpi_spec_difference(text, sizeof text, &spec, &run->spec))
            status = bpi_fail(error, BP_ERR_MISMATCH, "the checkpoint is of another environment: %s", text);
    }
    if (status == BP_OK) {
        double *old = (double *)bp_alloc(self->memory, self->fingerprint_n * sizeof(double));
        if (!old) status = bpi_fail(error, BP_ERR_MEMORY, "no memory to compare settings");
        if (status == BP_OK) status = bp_safetensors_read_double(file, "run/settings", old, self->fingerprint_n, error);
        if (status == BP_OK) {
            bpi_setting_diff d;
            memset(&d, 0, sizeof d);
            d.stored = old;
            d.n = self->fingerprint_n;
            bpi_run_settings(run, bpi_setting_compare, &d);
            if (d.found)
                status = bpi_fail(error, BP_ERR_MISMATCH, "the checkpoint was made with %s = %.9g, this run has %.9g",
                                  d.name, d.have, d.want);
        }
        bp_free(self->memory, old, self->fingerprint_n * sizeof(double));
    }
    if (status == BP_OK) {
        fact = bp_safetensors_text(file, "kernel");
        if (!fact || strcmp(fact, bp_kernel_name(self->compute[0].kernel)) != 0)
            bpi_log_line(&run->config.log, 1,
                         "the checkpoint was made with kernel %.20s, this machine uses %s: last bits may differ",
                         fact ? fact : "?", bp_kernel_name(self->compute[0].kernel));
    }

    for (i = 0; i < bp_rs0_tensor_count(run->learner) && status == BP_OK; i++) {
        bp_tensor tensor;
        bp_rs0_tensor(&tensor, run->learner, i);
        status = bp_safetensors_read_tensor(file, &tensor, error);
        if (status == BP_OK && !bpi_all_finite(tensor.data, tensor.rows * tensor.cols))
            status = bpi_run_absurd(path, tensor.name, error);
    }
    if (status == BP_OK) status = bp_safetensors_read_u64(file, "run/counters", self->run_u64, BPI_RUN_U64, error);
    if (status == BP_OK) status = bp_safetensors_read_double(file, "run/numbers", self->run_f64, BPI_RUN_F64, error);
    if (status == BP_OK) status = bp_safetensors_read_u64(file, "run/random", self->rng_u64, (actors + 2) * BPI_RNG_U64, error);
    if (status == BP_OK)
        status = bp_safetensors_read_u64(file, "actors/counters", self->actor_u64, actors * BPI_ACTOR_U64, error);
    if (status == BP_OK) status = bp_safetensors_read_double(file, "actors/return", self->actor_f64, actors, error);
    if (status == BP_OK)
        status = bp_safetensors_read_real(file, "actors/sequence", self->sequences, actors * self->sequence_reals, error);
    if (status == BP_OK && run->learner->state_size)
        status = bp_safetensors_read_real(file, "actors/state", self->states, actors * run->learner->state_size, error);
    if (status == BP_OK && !bpi_all_finite(self->states, actors * run->learner->state_size))
        status = bpi_run_absurd(path, "actors/state", error);
    if (status == BP_OK && run->normaliser.size) {
        status = bp_safetensors_read_double(file, "normaliser", run->normaliser.state, run->normaliser.n_state, error);
        for (i = 0; i < run->normaliser.n_state && status == BP_OK; i++)
            if (!bpi_finite_d(run->normaliser.state[i])) status = bpi_run_absurd(path, "the normaliser", error);
    }
    if (status == BP_OK) {
        bpi_run_counters(run, true);
        if (!bpi_rng_unpack(&self->learner_rng, self->rng_u64) ||
            !bpi_rng_unpack(&self->replay_rng, self->rng_u64 + BPI_RNG_U64))
            status = bpi_run_absurd(path, "a random state", error);
        if (!bpi_finite_d(run->learner->alpha_dual.log_value) || !bpi_finite_d(run->learner->entropy_dual.log_value))
            status = bpi_run_absurd(path, "an adapted weight", error);
        if (!bpi_finite_d(run->seconds) || run->seconds < 0.0) run->seconds = 0.0;
    }

    stored = bp_safetensors_find(file, "actors/environment");
    if (status == BP_OK && (!stored || stored->dtype != BP_DTYPE_U8))
        status = bpi_run_absurd(path, "array actors/environment", error);
    if (status == BP_OK) {
        self->env_state_bytes = stored->count;
        self->env_state = (unsigned char *)bp_alloc(self->memory, self->env_state_bytes);
        if (!self->env_state)
            status = bpi_fail(error, BP_ERR_MEMORY, "no memory for %lu bytes of environment states",
                              (unsigned long)stored->count);
    }
    if (status == BP_OK)
        status = bp_safetensors_read_bytes(file, "actors/environment", self->env_state, self->env_state_bytes, error);
    for (i = 0; i < actors && status == BP_OK; i++) {
        bpi_actor *a = &self->actor[i];
        const uint64_t *u = self->actor_u64 + i * BPI_ACTOR_U64;
        const uint64_t bytes = u[6];
        if (u[4] > (uint64_t)a->sequence.length || u[2] > 1 || u[3] > 1 || bytes > (uint64_t)(self->env_state_bytes - at) ||
            !bpi_finite_d(self->actor_f64[i]) || !bpi_rng_unpack(&a->rng, self->rng_u64 + (2 + i) * BPI_RNG_U64)) {
            status = bpi_run_absurd(path, "an actor's state", error);
            break;
        }
        a->episode = u[0];
        a->length = u[1];
        a->started = u[2] != 0;
        a->ended = u[3] != 0;
        a->sequence.filled = (size_t)u[4];
        a->sum = self->actor_f64[i];
        if (a->started && bytes == 0 && !a->ended) {
            /* It cannot save: the episode under way ends here, as at a time limit. */
            a->ended = true;
            bpi_log_line(&run->config.log, 1, "environment %lu cannot save its state: its running episode is given up",
                         (unsigned long)i);
        } else if (bytes) {
            if (!a->env.load || a->env.load(a->env.self, self->env_state + at, (size_t)bytes) != BP_OK)
                status = bpi_fail(error, BP_ERR_FORMAT, "'%.120s': environment %lu does not accept its stored state", path,
                                  (unsigned long)i);
        }
        at += (size_t)bytes;
    }
    bp_safetensors_close(file);
    return status;
}

BPI_FN bp_status bpi_run_resume(bp_run *run, const bpi_latest *latest, bp_error *error) {
    struct bpi_run *self = run->self;
    char state[BP_PATH], replay[BP_PATH];
    bp_status status;
    (void)bpi_run_path(state, run, latest->generation, "state");
    (void)bpi_run_path(replay, run, latest->generation, "replay");
    status = bpi_run_verify(state, latest->state_bytes, latest->state_crc, error);
    if (status == BP_OK) status = bpi_run_verify(replay, latest->replay_bytes, latest->replay_crc, error);
    if (status == BP_OK) status = bpi_run_load_state(run, state, error);
    if (status == BP_OK) status = bpi_run_load_replay(run, replay, error);
    if (status != BP_OK) return status;
    self->generation = latest->generation;
    run->resumed = true;
    run->done = run->env_steps >= run->config.env_steps ||
                (run->config.learner_steps && run->learner->steps + run->learner->rejected >= run->config.learner_steps);
    if (run->finished && !run->done) run->finished = false; /* the goal was moved: go on */
    if (self->next_log == UINT64_MAX) self->next_log = bpi_next_due(run->env_steps, run->config.log_every);
    if (self->next_checkpoint == UINT64_MAX) self->next_checkpoint = bpi_next_due(run->env_steps, run->config.checkpoint_every);
    bpi_log_line(&run->config.log, 0, "resumed at environment step %lu, learner step %lu", (unsigned long)run->env_steps,
                 (unsigned long)run->learner->steps);
    return BP_OK;
}

/* Read everything before writing anything: a run that cannot begin leaves the directory as it was. */
BPI_FN bp_status bpi_run_open_files(bp_run *run, bp_error *error) {
    struct bpi_run *self = run->self;
    const bp_run_config *c = &run->config;
    char path[BP_PATH];
    const char *names[BPI_RUN_COLUMNS];
    const size_t columns = bpi_run_columns(names);
    bpi_latest latest;
    uint64_t keep_csv, keep_events;
    bp_status status = bpi_run_read_latest(run, &latest, error);
    const bool there = status != BP_ERR_EMPTY;

    if (c->resume) {
        if (status == BP_OK) status = bpi_run_resume(run, &latest, error);
        else if (status == BP_ERR_EMPTY) status = BP_OK; /* it was killed before its first checkpoint */
        if (status != BP_OK) return status;
    } else if (there && !c->overwrite && !(status == BP_OK && latest.finished)) {
        if (status == BP_ERR_IO) return status;
        return bpi_fail(
            error, BP_ERR_ARGUMENT,
            "'%.120s' holds an unfinished run: set resume to go on, overwrite to discard it, or choose another directory",
            c->directory);
    }

    status = bp_file_make_directory(self->directory, error);
    if (status != BP_OK) return status;
    if (!run->resumed && there) { /* a fresh start: from here on the old run is no more */
        (void)bpi_path_join(path, self->checkpoint, "latest");
        bpi_io_remove(path);
        bpi_io_sync_directory(self->checkpoint);
        if (latest.generation) bpi_run_forget_generation(run, latest.generation);
    }
    bpi_run_forget_generation(run, self->generation + 1); /* what a kill in the middle of a checkpoint left behind */
    if (self->generation > 1) bpi_run_forget_generation(run, self->generation - 1);

    keep_csv = run->resumed ? self->csv.bytes : 0;
    keep_events = run->resumed ? self->events.bytes : 0;
    (void)bpi_path_join(path, self->directory, "progress.csv");
    status = bp_csv_open(&self->csv, path, names, columns, keep_csv, error);
    if (status == BP_OK && c->tensorboard) {
        (void)bpi_path_join(path, self->directory, "events.out.tfevents.0000000000.bprior");
        status = bp_events_open(&self->events, path, keep_events, bpi_wall_seconds(), error);
    }
    if (status == BP_OK && !run->resumed) status = bpi_run_write_settings(run, error);
    return status;
}

/* ==========================================================================
 * 20. >>files-impl   Files and logs
 *    provides: the reader and writer of safetensors, policy files, CSV, TensorBoard events
 *    needs: 1-4, 9, 13, 14, 18        equations: none
 * ========================================================================== */

/* ---- 20.1 bytes in and out ------------------------------------------------
 * On POSIX systems all files are descriptors: open, read, write and lseek are declared by their headers even
 * under -std=c99, when <stdio.h> came first and hides fileno() and ftruncate(). Only fsync() hides; we
 * declare it ourselves, in the form in which every POSIX system has it. Elsewhere stdio does, without
 * forcing bytes to the disk. */
#if !defined(BPRIOR_NO_POSIX) && (defined(__unix__) || defined(__APPLE__) || defined(__HAIKU__)) && !defined(_WIN32)
#define BPI_POSIX 1
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>
#ifdef __cplusplus
extern "C" int fsync(int);
#else
extern int fsync(int);
#endif
#else
#include <time.h>
#ifdef _WIN32
#include <direct.h>
#endif
#endif

#if defined(_WIN32)
#define BPI_IS_SLASH(c) ((c) == '/' || (c) == '\\')
#else
#define BPI_IS_SLASH(c) ((c) == '/')
#endif


/* A handle is a FILE*, or a descriptor plus one in the guise of a pointer, so that NULL means none. */
#ifdef BPI_POSIX
#define BPI_IO_FD(handle) ((int)((intptr_t)(handle)-1))
#ifndef O_CLOEXEC
#define O_CLOEXEC 0
#define BPI_DEFINED_CLOEXEC
#endif
BPI_FN void *bpi_io_open(const char *path, int mode) {
    int flags = mode == BPI_IO_READ     ? O_RDONLY
                : mode == BPI_IO_CREATE ? O_WRONLY | O_CREAT | O_TRUNC
                                        : O_WRONLY | O_APPEND;
    int fd;
    do fd = open(path, flags | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    return fd < 0 ? NULL : (void *)((intptr_t)fd + 1);
}
#ifdef BPI_DEFINED_CLOEXEC
#undef O_CLOEXEC
#undef BPI_DEFINED_CLOEXEC
#endif

/* Everything or false with errno set. A disk that fills up shows as a short write first, as ENOSPC next. */
BPI_FN bool bpi_io_write(void *handle, const void *data, size_t bytes) {
    const unsigned char *at = (const unsigned char *)data;
    while (bytes) {
        const size_t piece = bpi_min_size(bytes, (size_t)1 << 30);
        const ssize_t done = write(BPI_IO_FD(handle), at, piece);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            if (done == 0) errno = ENOSPC;
            return false;
        }
        at += (size_t)done;
        bytes -= (size_t)done;
    }
    return true;
}

/* How many bytes came; fewer than asked for at the end of the file. errno tells an error (0: none). */
BPI_FN size_t bpi_io_read(void *handle, void *data, size_t bytes) {
    unsigned char *at = (unsigned char *)data;
    size_t total = 0;
    errno = 0;
    while (total < bytes) {
        const ssize_t done = read(BPI_IO_FD(handle), at + total, bpi_min_size(bytes - total, (size_t)1 << 30));
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) break;
        total += (size_t)done;
    }
    return total;
}

BPI_FN bool bpi_io_seek(void *handle, size_t where) {
    return lseek(BPI_IO_FD(handle), (off_t)where, SEEK_SET) >= 0;
}

BPI_FN bool bpi_io_size(void *handle, size_t *bytes) {
    const off_t end = lseek(BPI_IO_FD(handle), 0, SEEK_END);
    if (end < 0 || lseek(BPI_IO_FD(handle), 0, SEEK_SET) < 0) return false;
    if ((uint64_t)end > (uint64_t)SIZE_MAX) {
        errno = EFBIG;
        return false;
    }
    *bytes = (size_t)end;
    return true;
}

/* Pipes and some file systems cannot be forced; that is no failure of the write. */
BPI_FN bool bpi_io_sync(void *handle) {
    return fsync(BPI_IO_FD(handle)) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EROFS;
}

BPI_FN bool bpi_io_close(void *handle) { return close(BPI_IO_FD(handle)) == 0 || errno == EINTR; }
BPI_FN void bpi_io_remove(const char *path) { (void)unlink(path); }
BPI_FN bool bpi_io_rename(const char *from, const char *to) { return rename(from, to) == 0; }
BPI_FN bool bpi_io_mkdir(const char *path) { return mkdir(path, 0777) == 0; }

/* A rename is on the disk only when its directory is. */
BPI_FN void bpi_io_sync_directory(const char *directory) {
    const int fd = open(directory, O_RDONLY);
    if (fd < 0) return;
    (void)fsync(fd);
    (void)close(fd);
}

/* Seconds since 1970. For people only: nothing that must repeat may depend on it. */
BPI_FN double bpi_wall_seconds(void) {
    struct timeval now;
    if (gettimeofday(&now, NULL) != 0) return 0.0;
    return (double)now.tv_sec + 1e-6 * (double)now.tv_usec;
}
#else
BPI_FN void *bpi_io_open(const char *path, int mode) {
    return (void *)fopen(path, mode == BPI_IO_READ ? "rb" : mode == BPI_IO_CREATE ? "wb"
                                                                                  : "ab");
}
BPI_FN bool bpi_io_write(void *handle, const void *data, size_t bytes) {
    return fwrite(data, 1, bytes, (FILE *)handle) == bytes && fflush((FILE *)handle) == 0;
}
BPI_FN size_t bpi_io_read(void *handle, void *data, size_t bytes) {
    errno = 0;
    return fread(data, 1, bytes, (FILE *)handle);
}
BPI_FN bool bpi_io_seek(void *handle, size_t where) {
    return where <= (size_t)LONG_MAX && fseek((FILE *)handle, (long)where, SEEK_SET) == 0;
}
BPI_FN bool bpi_io_size(void *handle, size_t *bytes) {
    long end;
    if (fseek((FILE *)handle, 0, SEEK_END) != 0) return false;
    end = ftell((FILE *)handle);
    if (end < 0 || fseek((FILE *)handle, 0, SEEK_SET) != 0) return false;
    *bytes = (size_t)end;
    return true;
}
BPI_FN bool bpi_io_sync(void *handle) { return fflush((FILE *)handle) == 0; }
BPI_FN bool bpi_io_close(void *handle) { return fclose((FILE *)handle) == 0; }
BPI_FN void bpi_io_remove(const char *path) { (void)remove(path); }
BPI_FN bool bpi_io_rename(const char *from, const char *to) {
#ifdef _WIN32
    (void)remove(to); /* ISO C on Windows does not replace: here alone there is a moment without a file */
#endif
    return rename(from, to) == 0;
}
BPI_FN bool bpi_io_mkdir(const char *path) {
#ifdef _WIN32
    return _mkdir(path) == 0;
#else
    BPI_UNUSED(path);
    return false;
#endif
}
BPI_FN void bpi_io_sync_directory(const char *directory) { BPI_UNUSED(directory); }
BPI_FN double bpi_wall_seconds(void) { return (double)time(NULL); }
#endif

/* BP_ERR_IO with the path and the system's reason. */
BPI_FN bp_status bpi_io_fail(bp_error *error, const char *what, const char *path, int reason) {
    return bpi_fail(error, BP_ERR_IO, "cannot %s '%.120s': %.80s", what, path,
                    reason ? strerror(reason) : "end of file or no reason given");
}

BPI_FN bool bpi_path_join(char *out, const char *directory, const char *name) {
    const size_t n = strlen(directory), m = strlen(name);
    const bool slash = n > 0 && !BPI_IS_SLASH(directory[n - 1]);
    if (n + m + 2 > BP_PATH) return false;
    memcpy(out, directory, n);
    if (slash) out[n] = '/';
    memcpy(out + n + (slash ? 1 : 0), name, m + 1);
    return true;
}

/* The directory part of a path, "." if there is none. */
BPI_FN void bpi_path_directory(char *out, const char *path) {
    size_t n = strlen(path);
    while (n > 0 && !BPI_IS_SLASH(path[n - 1])) n--;
    if (n == 0) {
        memcpy(out, ".", 2);
        return;
    }
    if (n > 1) n--;
    memcpy(out, path, n);
    out[n] = '\0';
}

BPRIOR_API bp_status bp_file_make_directory(const char *path, bp_error *error) {
    char part[BP_PATH];
    const size_t n = strlen(path);
    size_t i;
    int reason = 0;
    if (n == 0 || n >= BP_PATH)
        return bpi_fail(error, BP_ERR_ARGUMENT, "a directory's path must have 1 to %d bytes", BP_PATH - 1);
    memcpy(part, path, n + 1);
    for (i = 1; i <= n; i++) {
        const char c = part[i];
        if (i < n && !BPI_IS_SLASH(c)) continue;
        part[i] = '\0';
        errno = 0;
        reason = bpi_io_mkdir(part) ? 0 : errno;
        part[i] = c;
    }
#ifdef BPI_POSIX
    { /* What counts is whether it is there now: mkdir also fails on "/", and with EEXIST on a plain file. */
        struct stat info;
        if (stat(path, &info) != 0) return bpi_io_fail(error, "make directory", path, reason ? reason : errno);
        if (!S_ISDIR(info.st_mode)) return bpi_io_fail(error, "make directory", path, ENOTDIR);
    }
#else
    if (reason != 0 && reason != EEXIST) return bpi_io_fail(error, "make directory", path, reason);
#endif
    return bpi_ok(error);
}

/* ---- 20.2 checksum --------------------------------------------------------
 * CRC-32C: the remainder of the message, as a polynomial over GF(2), modulo 0x11EDC6F41, bits reflected.
 * crc_of_byte[k] = remainder of byte k shifted out; slice s advances by s more zero bytes, so that eight
 * bytes take eight independent look-ups. The tables are made when there is enough to check (a
 * constant table of 8 kB would be dearer to read than 20 lines). */
BPRIOR_API uint32_t bp_crc32c(uint32_t crc, const void *data, size_t bytes) {
    const unsigned char *at = (const unsigned char *)data;
    crc = ~crc;
    if (bytes >= 1024) {
        uint32_t table[8][256];
        unsigned i, s;
        for (i = 0; i < 256; i++) {
            uint32_t r = i;
            for (s = 0; s < 8; s++) r = (r >> 1) ^ (0x82F63B78u & (0u - (r & 1u)));
            table[0][i] = r;
        }
        for (s = 1; s < 8; s++)
            for (i = 0; i < 256; i++) table[s][i] = (table[s - 1][i] >> 8) ^ table[0][table[s - 1][i] & 255u];
        for (; bytes >= 8; bytes -= 8, at += 8) {
            const uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                                        (uint32_t)at[3] << 24);
            crc = table[7][low & 255u] ^ table[6][(low >> 8) & 255u] ^ table[5][(low >> 16) & 255u] ^
                  table[4][low >> 24] ^ table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]] ^ table[0][at[7]];
        }
    }
    for (; bytes; bytes--) {
        unsigned s;
        crc ^= *at++;
        for (s = 0; s < 8; s++) crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1u)));
    }
    return ~crc;
}

/* ---- 20.3 a file, all or nothing ------------------------------------------ */

BPRIOR_API bp_status bp_file_begin(bp_file *file, const char *path, bp_error *error) {
    const size_t n = strlen(path);
    file->open = false;
    file->stream = NULL;
    file->bytes = 0;
    file->crc = 0;
    file->buffered = 0;
    file->status = bpi_ok(&file->error);
    if (n == 0 || n >= BP_PATH)
        return bpi_fail(error, BP_ERR_ARGUMENT, "a file's path must have 1 to %d bytes", BP_PATH - 1);
    memcpy(file->path, path, n + 1);
    memcpy(file->temporary, path, n);
    memcpy(file->temporary + n, ".tmp", 5);
    file->stream = bpi_io_open(file->temporary, BPI_IO_CREATE);
    if (!file->stream) return bpi_io_fail(error, "create", file->temporary, errno);
    file->open = true;
    return bpi_ok(error);
}

BPI_FN void bpi_file_flush(bp_file *file) {
    if (file->status == BP_OK && file->buffered && !bpi_io_write(file->stream, file->buffer, file->buffered))
        file->status = bpi_io_fail(&file->error, "write", file->path, errno);
    file->buffered = 0;
}

BPRIOR_API bp_status bp_file_write(bp_file *file, const void *data, size_t bytes) {
    if (!file->open || file->status != BP_OK || bytes == 0) return file->status;
    file->crc = bp_crc32c(file->crc, data, bytes);
    file->bytes += bytes;
    if (bytes > sizeof file->buffer - file->buffered) bpi_file_flush(file);
    if (file->status == BP_OK && bytes > sizeof file->buffer) {
        if (!bpi_io_write(file->stream, data, bytes))
            file->status = bpi_io_fail(&file->error, "write", file->path, errno);
    } else if (file->status == BP_OK) {
        memcpy(file->buffer + file->buffered, data, bytes);
        file->buffered += bytes;
    }
    return file->status;
}

BPRIOR_API void bp_file_abort(bp_file *file) {
    if (!file->open) return;
    (void)bpi_io_close(file->stream);
    bpi_io_remove(file->temporary);
    file->stream = NULL;
    file->open = false;
}

BPRIOR_API bp_status bp_file_commit(bp_file *file, bp_error *error) {
    char directory[BP_PATH];
    if (!file->open) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_file_commit: the file is not open");
    bpi_file_flush(file);
    if (file->status == BP_OK && !bpi_io_sync(file->stream))
        file->status = bpi_io_fail(&file->error, "sync", file->path, errno);
    /* Some file systems (NFS, quotas) report a full disk only here. */
    if (!bpi_io_close(file->stream) && file->status == BP_OK)
        file->status = bpi_io_fail(&file->error, "close", file->path, errno);
    file->stream = NULL;
    file->open = false;
    if (file->status == BP_OK && !bpi_io_rename(file->temporary, file->path))
        file->status = bpi_io_fail(&file->error, "rename the temporary file to", file->path, errno);
    if (file->status != BP_OK) {
        bpi_io_remove(file->temporary);
        if (error) *error = file->error;
        return file->status;
    }
    bpi_path_directory(directory, file->path);
    bpi_io_sync_directory(directory);
    return bpi_ok(error);
}

/* ---- 20.4 numbers as text -------------------------------------------------
 * printf takes the decimal point from the locale: in half of Europe 0.5 would become two CSV cells. Whatever
 * stands where the point should be is replaced. */
BPI_FN size_t bpi_format_number(char out[40], double value, int digits) {
    char raw[64];
    size_t i, n = 0;
    if (value != value) {
        out[0] = '\0';
        return 0;
    }
    if (!bpi_finite_d(value)) {
        memcpy(out, value > 0 ? "inf" : "-inf", value > 0 ? 4 : 5);
        return value > 0 ? 3 : 4;
    }
    if (value == floor(value) && fabs(value) < 1e15) (void)snprintf(raw, sizeof raw, "%.0f", value + 0.0);
    else (void)snprintf(raw, sizeof raw, "%.*g", digits, value);
    for (i = 0; raw[i] != '\0' && n < 39; i++) {
        const char c = raw[i];
        if ((c >= '0' && c <= '9') || c == '-' || c == '+' || c == 'e') out[n++] = c;
        else if (n > 0 && out[n - 1] != '.') out[n++] = '.'; /* a point of several bytes becomes one */
    }
    out[n] = '\0';
    return n;
}

/* ---- 20.5 CSV ------------------------------------------------------------- */

/* Cut a log to its first `keep` bytes, by way of a copy. It must begin with `head`; if not, it stays as it is. */
BPI_FN bp_status bpi_log_cut(const char *path, uint64_t keep, const void *head, size_t head_bytes, bp_error *error) {
    bp_file copy;
    unsigned char buffer[8192];
    size_t size = 0, left, n;
    bp_status status = BP_OK;
    void *old = bpi_io_open(path, BPI_IO_READ);
    if (!old) return bpi_io_fail(error, "open", path, errno);
    if (!bpi_io_size(old, &size)) status = bpi_io_fail(error, "read", path, errno);
    else if (size < keep)
        status = bpi_fail(error, BP_ERR_MISMATCH, "'%.120s' has %lu bytes, but the checkpoint was made when it had %lu",
                          path, (unsigned long)size, (unsigned long)keep);
    if (status == BP_OK) {
        n = bpi_io_read(old, buffer, head_bytes);
        if (n != head_bytes || keep < head_bytes || memcmp(buffer, head, head_bytes) != 0)
            status = bpi_fail(error, BP_ERR_MISMATCH, "'%.120s' does not begin as this program would have begun it", path);
        else if (!bpi_io_seek(old, 0)) status = bpi_io_fail(error, "read", path, errno);
    }
    if (status == BP_OK && size > keep) {
        status = bp_file_begin(&copy, path, error);
        for (left = (size_t)keep; status == BP_OK && left; left -= n) {
            n = bpi_io_read(old, buffer, bpi_min_size(left, sizeof buffer));
            if (n == 0) status = bpi_io_fail(error, "read", path, errno);
            else (void)bp_file_write(&copy, buffer, n);
        }
        if (status == BP_OK) status = bp_file_commit(&copy, error);
        else bp_file_abort(&copy);
    }
    (void)bpi_io_close(old);
    return status;
}

BPRIOR_API bp_status bp_csv_open(bp_csv *csv, const char *path, const char *const *names, size_t columns,
                                 uint64_t keep, bp_error *error) {
    char header[8192];
    size_t i, n = 0;
    memset(csv, 0, sizeof *csv);
    if (strlen(path) >= BP_PATH) return bpi_fail(error, BP_ERR_ARGUMENT, "csv: path longer than %d bytes", BP_PATH - 1);
    memcpy(csv->path, path, strlen(path) + 1);
    csv->columns = columns;
    for (i = 0; i < columns; i++) {
        const size_t m = strlen(names[i]);
        if (n + m + 2 > sizeof header) return bpi_fail(error, BP_ERR_SIZE, "csv: header longer than 8191 bytes");
        memcpy(header + n, names[i], m);
        n += m;
        header[n++] = i + 1 < columns ? ',' : '\n';
    }
    if (keep > 0) {
        const bp_status status = bpi_log_cut(path, keep, header, n, error);
        if (status != BP_OK) return status;
    }
    csv->stream = bpi_io_open(path, keep > 0 ? BPI_IO_APPEND : BPI_IO_CREATE);
    if (!csv->stream) return bpi_io_fail(error, "open", path, errno);
    csv->bytes = keep;
    if (keep == 0) {
        if (!bpi_io_write(csv->stream, header, n)) {
            const int reason = errno;
            bp_csv_close(csv);
            return bpi_io_fail(error, "write", path, reason);
        }
        csv->bytes = n;
    }
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_csv_row(bp_csv *csv, const double *values, bp_error *error) {
    char line[4096];
    size_t i, n = 0;
    if (!csv->stream) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_csv_row: the log is not open");
    for (i = 0; i < csv->columns; i++) {
        n += bpi_format_number(line + n, values[i], 9);
        line[n++] = i + 1 < csv->columns ? ',' : '\n';
        if (n + 64 > sizeof line || i + 1 == csv->columns) {
            if (!bpi_io_write(csv->stream, line, n)) return bpi_io_fail(error, "write", csv->path, errno);
            csv->bytes += n;
            n = 0;
        }
    }
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_csv_sync(bp_csv *csv, bp_error *error) {
    if (csv->stream && !bpi_io_sync(csv->stream)) return bpi_io_fail(error, "sync", csv->path, errno);
    return bpi_ok(error);
}

BPRIOR_API void bp_csv_close(bp_csv *csv) {
    if (csv->stream) (void)bpi_io_close(csv->stream);
    csv->stream = NULL;
}

/* ---- 20.6 TensorBoard events ----------------------------------------------
 * A record is   length (8 bytes) | masked crc of these 8 | message | masked crc of the message,
 * all little-endian, masked(c) = rotr(c, 15) + 0xa282ead8. The message is a protocol buffer; each entry is a
 * key byte (number << 3 | wire type: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes) and its value:
 *
 *     Event   { 1: double wall_time   2: int64 step   3: string file_version   5: Summary }
 *     Summary { 1: Value }      Value { 1: string tag   2: float simple_value } */
BPI_FN void bpi_put_le(unsigned char *out, uint64_t value, size_t bytes) {
    size_t i;
    for (i = 0; i < bytes; i++) out[i] = (unsigned char)(value >> (8 * i) & 255u);
}

BPI_FN uint32_t bpi_masked_crc(const unsigned char *data, size_t bytes) {
    const uint32_t crc = bp_crc32c(0, data, bytes);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

BPI_FN size_t bpi_put_varint(unsigned char *out, uint64_t value) {
    size_t n = 0;
    for (; value >= 128; value >>= 7) out[n++] = (unsigned char)((value & 127u) | 128u);
    out[n++] = (unsigned char)value;
    return n;
}

BPI_FN bp_status bpi_events_record(bp_events *events, const unsigned char *message, size_t n, bp_error *error) {
    unsigned char record[512];
    bpi_put_le(record, n, 8);
    bpi_put_le(record + 8, bpi_masked_crc(record, 8), 4);
    memcpy(record + 12, message, n);
    bpi_put_le(record + 12 + n, bpi_masked_crc(message, n), 4);
    if (!bpi_io_write(events->stream, record, n + 16)) return bpi_io_fail(error, "write", events->path, errno);
    events->bytes += n + 16;
    return bpi_ok(error);
}

BPI_FN size_t bpi_put_double(unsigned char *out, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bpi_put_le(out, bits, 8);
    return 8;
}

BPRIOR_API bp_status bp_events_open(bp_events *events, const char *path, uint64_t keep, double wall_time,
                                    bp_error *error) {
    unsigned char message[64];
    static const unsigned char length[8] = {24, 0, 0, 0, 0, 0, 0, 0}; /* of the first record */
    size_t n = 0;
    memset(events, 0, sizeof *events);
    if (strlen(path) >= BP_PATH) return bpi_fail(error, BP_ERR_ARGUMENT, "events: path longer than %d bytes", BP_PATH - 1);
    memcpy(events->path, path, strlen(path) + 1);
    if (keep > 0) {
        const bp_status status = bpi_log_cut(path, keep, length, sizeof length, error);
        if (status != BP_OK) return status;
    }
    events->stream = bpi_io_open(path, keep > 0 ? BPI_IO_APPEND : BPI_IO_CREATE);
    if (!events->stream) return bpi_io_fail(error, "open", path, errno);
    events->bytes = keep;
    if (keep > 0) return bpi_ok(error);
    message[n++] = 1 << 3 | 1;
    n += bpi_put_double(message + n, wall_time);
    message[n++] = 3 << 3 | 2;
    message[n++] = 13;
    memcpy(message + n, "brain.Event:2", 13);
    n += 13;
    return bpi_events_record(events, message, n, error);
}

BPRIOR_API bp_status bp_events_scalar(bp_events *events, const char *tag, uint64_t step, double value,
                                      double wall_time, bp_error *error) {
    unsigned char message[256];
    const size_t length = bpi_min_size(strlen(tag), 80);
    const float narrow = value > (double)FLT_MAX    ? (float)HUGE_VAL
                         : value < -(double)FLT_MAX ? -(float)HUGE_VAL
                                                    : (float)value;
    uint32_t bits;
    size_t n = 0;
    if (!events->stream) return bpi_fail(error, BP_ERR_ARGUMENT, "bp_events_scalar: the log is not open");
    memcpy(&bits, &narrow, sizeof bits);
    message[n++] = 1 << 3 | 1;
    n += bpi_put_double(message + n, wall_time);
    message[n++] = 2 << 3 | 0;
    n += bpi_put_varint(message + n, step);
    message[n++] = 5 << 3 | 2;
    message[n++] = (unsigned char)(2 + 2 + length + 5); /* Summary; below 128, so one byte is its length */
    message[n++] = 1 << 3 | 2;
    message[n++] = (unsigned char)(2 + length + 5); /* Value */
    message[n++] = 1 << 3 | 2;
    message[n++] = (unsigned char)length;
    memcpy(message + n, tag, length);
    n += length;
    message[n++] = 2 << 3 | 5;
    bpi_put_le(message + n, bits, 4);
    return bpi_events_record(events, message, n + 4, error);
}

BPRIOR_API bp_status bp_events_sync(bp_events *events, bp_error *error) {
    if (events->stream && !bpi_io_sync(events->stream)) return bpi_io_fail(error, "sync", events->path, errno);
    return bpi_ok(error);
}

BPRIOR_API void bp_events_close(bp_events *events) {
    if (events->stream) (void)bpi_io_close(events->stream);
    events->stream = NULL;
}

/* ---- 20.7 status line ----------------------------------------------------- */

BPI_FN void bpi_line_text(char *line, size_t capacity, size_t *n, const char *text) {
    const size_t m = bpi_min_size(strlen(text), capacity - 1 - *n);
    memcpy(line + *n, text, m);
    *n += m;
    line[*n] = '\0';
}

BPI_FN void bpi_line_number(char *line, size_t capacity, size_t *n, const char *label, double value, int digits) {
    char number[40];
    if (value != value) return;
    (void)bpi_format_number(number, value, digits);
    bpi_line_text(line, capacity, n, label);
    bpi_line_text(line, capacity, n, number);
}

BPRIOR_API size_t bp_status_line(char *line, size_t capacity, const bp_progress *progress) {
    const double total = (double)progress->total, done = (double)progress->done;
    size_t n = 0;
    if (capacity == 0) return 0;
    line[0] = '\0';
    bpi_line_number(line, capacity, &n, "  ", done, 15);
    if (total > 0) {
        bpi_line_number(line, capacity, &n, "/", total, 15);
        bpi_line_number(line, capacity, &n, "  ", floor(100.0 * (done < total ? done / total : 1.0)), 3);
        bpi_line_text(line, capacity, &n, "%");
    }
    if (progress->steps_per_second > 0) {
        bpi_line_number(line, capacity, &n, "  ", floor(progress->steps_per_second + 0.5), 9);
        bpi_line_text(line, capacity, &n, "/s");
    }
    bpi_line_number(line, capacity, &n, "  return ", progress->episode_return, 4);
    bpi_line_number(line, capacity, &n, "  eval ", progress->evaluation, 4);
    bpi_line_number(line, capacity, &n, "  kl ", progress->kl, 3);
    if (progress->seconds_left >= 0 && progress->seconds_left < 3.6e6) {
        const unsigned long s = (unsigned long)(progress->seconds_left + 0.5);
        char eta[40];
        (void)snprintf(eta, sizeof eta, "  eta %lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
        bpi_line_text(line, capacity, &n, eta);
    }
    return n;
}

/* ---- 20.8 writing safetensors ---------------------------------------------
 *
 *     8 bytes   N, little-endian
 *     N bytes   {"__metadata__":{"key":"value",...},"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},...}
 *               and blanks, so that the numbers begin at a multiple of 8
 *     the numbers, little-endian, in the order of the header and without gaps
 *
 * The header is produced twice by the same code: once to count its bytes, once to write them. */
BPRIOR_API const char *bp_dtype_name(bp_dtype dtype) {
    switch (dtype) {
    case BP_DTYPE_F32: return "F32";
    case BP_DTYPE_F64: return "F64";
    case BP_DTYPE_U64: return "U64";
    case BP_DTYPE_U8: return "U8";
    case BP_DTYPE_BOOL: return "BOOL";
    case BP_DTYPE_I8: return "I8";
    case BP_DTYPE_I16: return "I16";
    case BP_DTYPE_U16: return "U16";
    case BP_DTYPE_F16: return "F16";
    case BP_DTYPE_BF16: return "BF16";
    case BP_DTYPE_I32: return "I32";
    case BP_DTYPE_U32: return "U32";
    case BP_DTYPE_I64: return "I64";
    case BP_DTYPE_F8_E5M2: return "F8_E5M2";
    case BP_DTYPE_F8_E4M3: return "F8_E4M3";
    case BP_DTYPE_COUNT_: break;
    }
    return "unknown";
}

BPRIOR_API size_t bp_dtype_size(bp_dtype dtype) {
    switch (dtype) {
    case BP_DTYPE_F64:
    case BP_DTYPE_U64:
    case BP_DTYPE_I64: return 8;
    case BP_DTYPE_F32:
    case BP_DTYPE_I32:
    case BP_DTYPE_U32: return 4;
    case BP_DTYPE_I16:
    case BP_DTYPE_U16:
    case BP_DTYPE_F16:
    case BP_DTYPE_BF16: return 2;
    default: return 1;
    }
}

BPRIOR_API bp_array bp_array_of(const char *name, bp_dtype dtype, size_t rows, size_t cols, const void *data) {
    bp_array out;
    const size_t n = bpi_min_size(strlen(name), BP_TENSOR_NAME - 1);
    memset(&out, 0, sizeof out);
    memcpy(out.name, name, n);
    out.dtype = dtype;
    out.rows = rows;
    out.cols = cols;
    out.data = data;
    return out;
}

BPRIOR_API bp_array bp_array_tensor(const bp_tensor *tensor) {
    return bp_array_of(tensor->name, BP_DTYPE_REAL, tensor->rows, tensor->cols, tensor->data);
}

/* Text that is counted (file NULL) or written. */
typedef struct bpi_emit {
    bp_file *file;
    size_t bytes;
} bpi_emit;

BPI_FN void bpi_emit_bytes(bpi_emit *out, const char *text, size_t n) {
    out->bytes += n;
    if (out->file) (void)bp_file_write(out->file, text, n);
}

BPI_FN void bpi_emit_text(bpi_emit *out, const char *text) { bpi_emit_bytes(out, text, strlen(text)); }

BPI_FN void bpi_emit_string(bpi_emit *out, const char *text) {
    static const char hex[] = "0123456789abcdef";
    bpi_emit_text(out, "\"");
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        char escaped[6];
        if (c == '"' || c == '\\') {
            escaped[0] = '\\';
            escaped[1] = (char)c;
            bpi_emit_bytes(out, escaped, 2);
        } else if (c < 32) {
            memcpy(escaped, "\\u00", 4);
            escaped[4] = hex[c >> 4];
            escaped[5] = hex[c & 15u];
            bpi_emit_bytes(out, escaped, 6);
        } else {
            bpi_emit_bytes(out, text, 1);
        }
    }
    bpi_emit_text(out, "\"");
}

BPI_FN void bpi_emit_size(bpi_emit *out, size_t value) {
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    bpi_emit_bytes(out, digits + at, sizeof digits - at);
}

BPI_FN bp_status bpi_emit_header(bpi_emit *out, bp_array_source source, void *ctx, size_t n_arrays, const bp_text *texts,
                                 size_t n_texts, bp_error *error) {
    size_t offset = 0, i;
    bpi_emit_text(out, "{");
    if (n_texts) {
        bpi_emit_text(out, "\"__metadata__\":{");
        for (i = 0; i < n_texts; i++) {
            if (i) bpi_emit_text(out, ",");
            bpi_emit_string(out, texts[i].key);
            bpi_emit_text(out, ":");
            bpi_emit_string(out, texts[i].value);
        }
        bpi_emit_text(out, "}");
    }
    for (i = 0; i < n_arrays; i++) {
        bp_array a;
        size_t bytes, end;
        memset(&a, 0, sizeof a);
        source(ctx, i, &a);
        if (a.dtype != BP_DTYPE_F32 && a.dtype != BP_DTYPE_F64 && a.dtype != BP_DTYPE_U64 && a.dtype != BP_DTYPE_U8)
            return bpi_fail(error, BP_ERR_ARGUMENT, "safetensors: array '%s' has a type that is not written", a.name);
        if (!bp_size_mul(&bytes, a.rows ? a.rows : 1, a.cols) || !bp_size_mul(&bytes, bytes, bp_dtype_size(a.dtype)) ||
            !bp_size_add(&end, offset, bytes))
            return bpi_fail(error, BP_ERR_SIZE, "safetensors: the size of '%s' overflows", a.name);
        if (i || n_texts) bpi_emit_text(out, ",");
        bpi_emit_string(out, a.name);
        bpi_emit_text(out, ":{\"dtype\":\"");
        bpi_emit_text(out, bp_dtype_name(a.dtype));
        bpi_emit_text(out, "\",\"shape\":[");
        if (a.rows) {
            bpi_emit_size(out, a.rows);
            bpi_emit_text(out, ",");
        }
        bpi_emit_size(out, a.cols);
        bpi_emit_text(out, "],\"data_offsets\":[");
        bpi_emit_size(out, offset);
        bpi_emit_text(out, ",");
        bpi_emit_size(out, end);
        bpi_emit_text(out, "]}");
        offset = end;
    }
    bpi_emit_text(out, "}");
    while (out->bytes % 8) bpi_emit_text(out, " ");
    return BP_OK;
}

BPI_FN bool bpi_little_endian(void) {
    const uint32_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    return first == 1;
}

/* Reverse the bytes of each of n numbers; the way to and from a big-endian machine. */
BPI_FN void bpi_swap_bytes(unsigned char *data, size_t n, size_t size) {
    size_t i, j;
    for (i = 0; i < n; i++, data += size)
        for (j = 0; j < size / 2; j++) {
            const unsigned char keep = data[j];
            data[j] = data[size - 1 - j];
            data[size - 1 - j] = keep;
        }
}

BPI_FN void bpi_file_numbers(bp_file *file, const void *data, size_t n, size_t size) {
    if (size == 1 || bpi_little_endian()) {
        (void)bp_file_write(file, data, n * size);
    } else {
        const unsigned char *at = (const unsigned char *)data;
        unsigned char piece[512];
        while (n) {
            const size_t m = bpi_min_size(n, sizeof piece / size);
            memcpy(piece, at, m * size);
            bpi_swap_bytes(piece, m, size);
            (void)bp_file_write(file, piece, m * size);
            at += m * size;
            n -= m;
        }
    }
}

BPRIOR_API bp_status bp_safetensors_write_from(const char *path, bp_array_source source, void *ctx, size_t n_arrays,
                                               const bp_text *texts, size_t n_texts, uint32_t *crc, uint64_t *bytes,
                                               bp_error *error) {
    bp_file file;
    bpi_emit out;
    unsigned char length[8];
    size_t i;
    bp_status status;
    out.file = NULL;
    out.bytes = 0;
    status = bpi_emit_header(&out, source, ctx, n_arrays, texts, n_texts, error);
    if (status != BP_OK) return status;
    status = bp_file_begin(&file, path, error);
    if (status != BP_OK) return status;
    bpi_put_le(length, out.bytes, 8);
    (void)bp_file_write(&file, length, 8);
    out.file = &file;
    out.bytes = 0;
    (void)bpi_emit_header(&out, source, ctx, n_arrays, texts, n_texts, NULL);
    for (i = 0; i < n_arrays && file.status == BP_OK; i++) {
        bp_array a;
        memset(&a, 0, sizeof a);
        source(ctx, i, &a);
        bpi_file_numbers(&file, a.data, (a.rows ? a.rows : 1) * a.cols, bp_dtype_size(a.dtype));
    }
    status = bp_file_commit(&file, error);
    if (crc) *crc = file.crc;
    if (bytes) *bytes = file.bytes;
    return status;
}

BPI_FN void bpi_array_list(void *ctx, size_t i, bp_array *out) { *out = ((const bp_array *)ctx)[i]; }

BPRIOR_API bp_status bp_safetensors_write(const char *path, const bp_array *arrays, size_t n_arrays,
                                          const bp_text *texts, size_t n_texts, uint32_t *crc, uint64_t *bytes,
                                          bp_error *error) {
    /* The source only reads: the cast takes away a const that a context pointer cannot carry. */
    return bp_safetensors_write_from(path, bpi_array_list, (void *)arrays, n_arrays, texts, n_texts, crc, bytes, error);
}

/* ---- 20.9 reading safetensors ---------------------------------------------
 * The header is strict JSON of two levels. It is scanned twice. The first scan changes nothing, checks the grammar and counts,
 * so that memory is asked for only once every entry is known to be there; the second decodes strings in
 * place (a decoded string is never longer) and fills the index. Then, over the index sorted by offset:
 * ranges must follow each other without gap or overlap from 0 to the end of the file. */
typedef struct bpi_json {
    char *text;
    size_t n, at;
    bool fill;           /* second scan */
    bool plain;          /* the newest string had no escapes: raw and decoded it is the same */
    const char *problem; /* first thing wrong, NULL while fine */
} bpi_json;

BPI_FN bool bpi_json_fail(bpi_json *j, const char *problem) {
    if (!j->problem) j->problem = problem;
    return false;
}

BPI_FN void bpi_json_blanks(bpi_json *j) {
    while (j->at < j->n &&
           (j->text[j->at] == ' ' || j->text[j->at] == '\t' || j->text[j->at] == '\n' || j->text[j->at] == '\r'))
        j->at++;
}

/* Is the next thing this punctuation mark? Then take it. */
BPI_FN bool bpi_json_try(bpi_json *j, char mark) {
    bpi_json_blanks(j);
    if (j->at >= j->n || j->text[j->at] != mark) return false;
    j->at++;
    return true;
}

BPI_FN bool bpi_json_take(bpi_json *j, char mark) {
    return bpi_json_try(j, mark) || bpi_json_fail(j, mark == '{'   ? "expected '{'"
                                                     : mark == '}' ? "expected '}' or ','"
                                                     : mark == '[' ? "expected '['"
                                                     : mark == ']' ? "expected ']'"
                                                     : mark == ':' ? "expected ':'"
                                                                   : "expected ','");
}

/* Four hexadecimal digits at i, or -1. */
BPI_FN long bpi_json_hex(const bpi_json *j, size_t i) {
    long value = 0;
    size_t k;
    if (j->n < 4 || i > j->n - 4) return -1;
    for (k = 0; k < 4; k++) {
        const char c = j->text[i + k];
        const long digit = c >= '0' && c <= '9'   ? c - '0'
                           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                  : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* A string. *out points to its first byte; *length is what is between the quotes, raw in the first scan. In the second
 * it is decoded over itself and ends with NUL: the closing quote makes room for that. */
BPI_FN bool bpi_json_string(bpi_json *j, const char **out, size_t *length) {
    size_t i, to;
    bpi_json_blanks(j);
    if (j->at >= j->n || j->text[j->at] != '"') return bpi_json_fail(j, "expected a string");
    i = to = ++j->at;
    j->plain = true;
    *out = j->text + i;
    while (i < j->n && j->text[i] != '"') {
        unsigned char c = (unsigned char)j->text[i];
        unsigned char utf8[4];
        size_t m = 1;
        if (c < 32) return bpi_json_fail(j, "control character in a string");
        utf8[0] = c;
        i++;
        if (c == '\\') {
            long point;
            j->plain = false;
            if (i >= j->n) break;
            c = (unsigned char)j->text[i++];
            switch (c) {
            case '"':
            case '\\':
            case '/': utf8[0] = c; break;
            case 'b': utf8[0] = 8; break;
            case 'f': utf8[0] = 12; break;
            case 'n': utf8[0] = 10; break;
            case 'r': utf8[0] = 13; break;
            case 't': utf8[0] = 9; break;
            case 'u':
                point = bpi_json_hex(j, i);
                if (point < 0) return bpi_json_fail(j, "bad \\u escape");
                i += 4;
                if (point >= 0xD800 && point < 0xDC00) { /* first half of a surrogate pair */
                    long low = -1;
                    if (i + 1 < j->n && j->text[i] == '\\' && j->text[i + 1] == 'u') low = bpi_json_hex(j, i + 2);
                    if (low < 0xDC00 || low > 0xDFFF) return bpi_json_fail(j, "half a surrogate pair");
                    point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
                    i += 6;
                } else if (point >= 0xDC00 && point < 0xE000) {
                    return bpi_json_fail(j, "half a surrogate pair");
                }
                if (point == 0) return bpi_json_fail(j, "NUL in a string");
                if (point < 0x80) {
                    utf8[0] = (unsigned char)point;
                } else if (point < 0x800) {
                    utf8[0] = (unsigned char)(0xC0 | point >> 6);
                    utf8[1] = (unsigned char)(0x80 | (point & 63));
                    m = 2;
                } else if (point < 0x10000) {
                    utf8[0] = (unsigned char)(0xE0 | point >> 12);
                    utf8[1] = (unsigned char)(0x80 | (point >> 6 & 63));
                    utf8[2] = (unsigned char)(0x80 | (point & 63));
                    m = 3;
                } else {
                    utf8[0] = (unsigned char)(0xF0 | point >> 18);
                    utf8[1] = (unsigned char)(0x80 | (point >> 12 & 63));
                    utf8[2] = (unsigned char)(0x80 | (point >> 6 & 63));
                    utf8[3] = (unsigned char)(0x80 | (point & 63));
                    m = 4;
                }
                break;
            default: return bpi_json_fail(j, "bad escape");
            }
        }
        if (j->fill) memcpy(j->text + to, utf8, m);
        to += m;
    }
    if (i >= j->n) return bpi_json_fail(j, "string without end");
    *length = j->fill ? to - j->at : i - j->at;
    if (j->fill) j->text[to] = '\0';
    j->at = i + 1;
    return true;
}

/* Is the newest string this word? Only without escapes, so that both scans give the same answer: the second one
 * writes into memory that was measured by the answers of the first. */
BPI_FN bool bpi_json_is(const bpi_json *j, const char *text, size_t length, const char *want) {
    return j->plain && strlen(want) == length && memcmp(text, want, length) == 0;
}

BPI_FN bool bpi_json_size(bpi_json *j, size_t *out) {
    size_t value = 0, digits = 0;
    bpi_json_blanks(j);
    while (j->at < j->n && j->text[j->at] >= '0' && j->text[j->at] <= '9') {
        const size_t digit = (size_t)(j->text[j->at] - '0');
        if (digits && value == 0) return bpi_json_fail(j, "number with a leading zero");
        if (value > (SIZE_MAX - digit) / 10) return bpi_json_fail(j, "number too large");
        value = value * 10 + digit;
        j->at++;
        digits++;
    }
    if (!digits) return bpi_json_fail(j, "expected a whole number");
    *out = value;
    return true;
}

/* {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]} in any order, each exactly once. */
BPI_FN bool bpi_json_array(bpi_json *j, bp_stored *a) {
    unsigned seen = 0;
    size_t i, bytes;
    if (!bpi_json_take(j, '{')) return false;
    a->n_dims = 0;
    a->count = 1;
    do {
        const char *key = NULL;
        size_t length = 0;
        if (!bpi_json_string(j, &key, &length) || !bpi_json_take(j, ':')) return false;
        if (bpi_json_is(j, key, length, "dtype") && !(seen & 1u)) {
            const char *name = NULL;
            int d = 0;
            seen |= 1u;
            if (!bpi_json_string(j, &name, &length)) return false;
            while (d < (int)BP_DTYPE_COUNT_ && !bpi_json_is(j, name, length, bp_dtype_name((bp_dtype)d))) d++;
            if (d == (int)BP_DTYPE_COUNT_) return bpi_json_fail(j, "unknown dtype");
            a->dtype = (bp_dtype)d;
        } else if (bpi_json_is(j, key, length, "shape") && !(seen & 2u)) {
            seen |= 2u;
            if (!bpi_json_take(j, '[')) return false;
            if (!bpi_json_try(j, ']')) {
                do {
                    if (a->n_dims == BP_MAX_DIMS) return bpi_json_fail(j, "too many dimensions");
                    if (!bpi_json_size(j, &a->shape[a->n_dims])) return false;
                    a->n_dims++;
                } while (bpi_json_try(j, ','));
                if (!bpi_json_take(j, ']')) return false;
            }
        } else if (bpi_json_is(j, key, length, "data_offsets") && !(seen & 4u)) {
            seen |= 4u;
            if (!bpi_json_take(j, '[') || !bpi_json_size(j, &a->begin) || !bpi_json_take(j, ',') ||
                !bpi_json_size(j, &a->end) || !bpi_json_take(j, ']'))
                return false;
        } else {
            return bpi_json_fail(j, "unknown or repeated key in an array's entry");
        }
    } while (bpi_json_try(j, ','));
    if (!bpi_json_take(j, '}')) return false;
    if (seen != 7u) return bpi_json_fail(j, "an array's entry lacks dtype, shape or data_offsets");
    for (i = 0; i < a->n_dims; i++)
        if (!bp_size_mul(&a->count, a->count, a->shape[i])) return bpi_json_fail(j, "a shape overflows");
    if (!bp_size_mul(&bytes, a->count, bp_dtype_size(a->dtype)) || a->begin > a->end || a->end - a->begin != bytes)
        return bpi_json_fail(j, "data_offsets do not fit shape and dtype");
    return true;
}

/* The whole header. Without fill only counts. */
BPI_FN bool bpi_json_header(bpi_json *j, bp_safetensors *file) {
    bool metadata = false;
    file->n = file->n_texts = 0;
    if (!bpi_json_take(j, '{')) return false;
    if (!bpi_json_try(j, '}')) {
        do {
            const char *name = NULL;
            size_t length = 0;
            bp_stored one;
            if (!bpi_json_string(j, &name, &length) || !bpi_json_take(j, ':')) return false;
            if (bpi_json_is(j, name, length, "__metadata__")) {
                if (metadata) return bpi_json_fail(j, "two __metadata__");
                metadata = true;
                if (!bpi_json_take(j, '{')) return false;
                if (bpi_json_try(j, '}')) continue;
                do {
                    const char *key = NULL, *value = NULL;
                    size_t ignored = 0;
                    if (!bpi_json_string(j, &key, &ignored) || !bpi_json_take(j, ':') ||
                        !bpi_json_string(j, &value, &ignored))
                        return false;
                    if (j->fill) {
                        file->text[file->n_texts].key = key;
                        file->text[file->n_texts].value = value;
                    }
                    file->n_texts++;
                } while (bpi_json_try(j, ','));
                if (!bpi_json_take(j, '}')) return false;
            } else {
                memset(&one, 0, sizeof one);
                if (!bpi_json_array(j, &one)) return false;
                one.name = name;
                if (j->fill) file->array[file->n] = one;
                file->n++;
            }
        } while (bpi_json_try(j, ','));
        if (!bpi_json_take(j, '}')) return false;
    }
    bpi_json_blanks(j);
    return j->at == j->n || bpi_json_fail(j, "bytes after the header's end");
}

BPI_FN int bpi_stored_by_offset(const bp_stored *a, const bp_stored *b) {
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    return a->end != b->end ? (a->end < b->end ? -1 : 1) : 0;
}

BPI_FN int bpi_stored_by_name(const bp_stored *a, const bp_stored *b) { return strcmp(a->name, b->name); }

/* Heap sort: qsort() may allocate, and may be quadratic when somebody hostile chose the order. */
BPI_FN void bpi_stored_sort(bp_stored *a, size_t n, int (*compare)(const bp_stored *, const bp_stored *)) {
    size_t start = n / 2, end = n;
    while (end > 1) {
        bp_stored item;
        size_t hole, child;
        if (start > 0) {
            item = a[--start];
        } else {
            item = a[--end];
            a[end] = a[0];
        }
        for (hole = start; (child = 2 * hole + 1) < end; hole = child) {
            if (child + 1 < end && compare(&a[child], &a[child + 1]) < 0) child++;
            if (compare(&item, &a[child]) >= 0) break;
            a[hole] = a[child];
        }
        a[hole] = item;
    }
}

/* Bytes [where, where+n) of the file. */
BPI_FN bp_status bpi_stored_fetch(const bp_safetensors *file, size_t where, void *out, size_t n, bp_error *error) {
    if (n == 0) return BP_OK;
    if (file->memory) {
        if (where > file->bytes || n > file->bytes - where)
            return bpi_fail(error, BP_ERR_FORMAT, "'%.120s' is shorter than its header says", file->path);
        memcpy(out, file->memory + where, n);
        return BP_OK;
    }
    if (!bpi_io_seek(file->stream, where)) return bpi_io_fail(error, "read", file->path, errno);
    if (bpi_io_read(file->stream, out, n) != n) {
        if (errno) return bpi_io_fail(error, "read", file->path, errno);
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s' is shorter than its header says", file->path);
    }
    return BP_OK;
}

#define BPI_HEADER_LIMIT ((size_t)100000000) /* of the format itself */

/* With stream or memory, bytes and path set: read the index. */
BPI_FN bp_status bpi_stored_index(bp_safetensors *file, const bp_allocator *allocator, bp_error *error) {
    unsigned char length[8];
    uint64_t n = 0;
    size_t i, end, bytes, text_bytes;
    bpi_json j;
    bp_status status;

    if (file->bytes < 8)
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': %lu bytes are no safetensors file", file->path,
                        (unsigned long)file->bytes);
    status = bpi_stored_fetch(file, 0, length, 8, error);
    if (status != BP_OK) return status;
    for (i = 0; i < 8; i++) n |= (uint64_t)length[i] << (8 * i);
    if (n > (uint64_t)(file->bytes - 8) || n > (uint64_t)BPI_HEADER_LIMIT)
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': header length does not fit the file", file->path);
    file->header_bytes = (size_t)n;
    file->data = 8 + (size_t)n;
    file->header = (char *)bp_alloc(allocator, file->header_bytes);
    if (!file->header) return bpi_fail(error, BP_ERR_MEMORY, "'%.120s': no memory for its header", file->path);
    status = bpi_stored_fetch(file, 8, file->header, file->header_bytes, error);
    if (status != BP_OK) return status;

    memset(&j, 0, sizeof j);
    j.text = file->header;
    j.n = file->header_bytes;
    if (bpi_json_header(&j, file)) {
        if (!bp_size_mul(&bytes, file->n, sizeof(bp_stored)) || !bp_size_mul(&text_bytes, file->n_texts, sizeof(bp_text)) ||
            !bp_size_add(&file->index_bytes, bytes, text_bytes))
            return bpi_fail(error, BP_ERR_SIZE, "'%.120s': too many entries", file->path);
        file->index = bp_alloc(allocator, file->index_bytes);
        if (!file->index) return bpi_fail(error, BP_ERR_MEMORY, "'%.120s': no memory for its index", file->path);
        file->array = (bp_stored *)file->index;
        file->text = (bp_text *)(void *)((unsigned char *)file->index + bytes);
        j.at = 0;
        j.fill = true;
        (void)bpi_json_header(&j, file);
    }
    if (j.problem)
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': header byte %lu: %s", file->path, (unsigned long)j.at, j.problem);

    bpi_stored_sort(file->array, file->n, bpi_stored_by_offset);
    for (i = 0, end = 0; i < file->n; end = file->array[i++].end)
        if (file->array[i].begin != end)
            return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': array '%.60s' overlaps another or leaves a gap", file->path,
                            file->array[i].name);
    if (end != file->bytes - file->data)
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': the header describes %lu bytes of numbers, the file has %lu",
                        file->path, (unsigned long)end, (unsigned long)(file->bytes - file->data));
    bpi_stored_sort(file->array, file->n, bpi_stored_by_name);
    for (i = 1; i < file->n; i++)
        if (strcmp(file->array[i - 1].name, file->array[i].name) == 0)
            return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': array '%.60s' is there twice", file->path, file->array[i].name);
    return BP_OK;
}

BPI_FN bp_status bpi_stored_open(bp_safetensors **out, const char *path, const void *data, size_t bytes,
                                 const bp_allocator *allocator, bp_error *error) {
    bp_safetensors *file;
    bp_status status = BP_OK;
    const size_t n = strlen(path);
    *out = NULL;
    if (n == 0 || n >= BP_PATH) return bpi_fail(error, BP_ERR_ARGUMENT, "a file's path must have 1 to %d bytes", BP_PATH - 1);
    file = (bp_safetensors *)bp_alloc(allocator, sizeof *file);
    if (!file) return bpi_fail(error, BP_ERR_MEMORY, "'%.120s': no memory to open it", path);
    bpi_own(&file->owner, allocator, sizeof *file);
    memcpy(file->path, path, n + 1);
    if (data) {
        file->memory = (const unsigned char *)data;
        file->bytes = bytes;
    } else {
        file->stream = bpi_io_open(path, BPI_IO_READ);
        if (!file->stream) status = bpi_io_fail(error, "open", path, errno);
        else if (!bpi_io_size(file->stream, &file->bytes)) status = bpi_io_fail(error, "read", path, errno);
    }
    if (status == BP_OK) status = bpi_stored_index(file, allocator, error);
    if (status != BP_OK) {
        bp_safetensors_close(file);
        return status;
    }
    *out = file;
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_safetensors_open(bp_safetensors **out, const char *path, const bp_allocator *allocator,
                                         bp_error *error) {
    return bpi_stored_open(out, path, NULL, 0, allocator, error);
}

BPRIOR_API bp_status bp_safetensors_open_memory(bp_safetensors **out, const void *data, size_t bytes,
                                                const bp_allocator *allocator, bp_error *error) {
    return bpi_stored_open(out, "memory", data ? data : (const void *)"", data ? bytes : 0, allocator, error);
}

BPRIOR_API void bp_safetensors_close(bp_safetensors *file) {
    const bp_allocator *allocator;
    if (!file) return;
    allocator = file->owner.custom ? &file->owner.allocator : NULL;
    if (file->stream) (void)bpi_io_close(file->stream);
    if (file->index) bp_free(allocator, file->index, file->index_bytes);
    if (file->header) bp_free(allocator, file->header, file->header_bytes);
    bpi_disown(&file->owner, file);
}

BPRIOR_API const bp_stored *bp_safetensors_find(const bp_safetensors *file, const char *name) {
    size_t low = 0, high = file->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(file->array[middle].name, name);
        if (order == 0) return &file->array[middle];
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

BPRIOR_API const char *bp_safetensors_text(const bp_safetensors *file, const char *key) {
    size_t i;
    for (i = 0; i < file->n_texts; i++)
        if (strcmp(file->text[i].key, key) == 0) return file->text[i].value;
    return NULL;
}

BPI_FN bp_status bpi_stored_want(const bp_stored **out, const bp_safetensors *file, const char *name, size_t n,
                                 bp_error *error) {
    const bp_stored *a = bp_safetensors_find(file, name);
    *out = a;
    if (!a) return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s' has no array '%.90s'", file->path, name);
    if (a->count != n)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.80s': array '%.80s' has %lu numbers, expected %lu", file->path, name,
                        (unsigned long)a->count, (unsigned long)n);
    return BP_OK;
}

/* A double as bp_real; what does not fit a float becomes infinite (the plain cast would be undefined). */
BPI_FN bp_real bpi_narrow(double x) {
    if (sizeof(bp_real) == 4) {
        if (x > (double)FLT_MAX) return (bp_real)HUGE_VAL;
        if (x < -(double)FLT_MAX) return -(bp_real)HUGE_VAL;
    }
    return (bp_real)x;
}

/* Exactly one of real and wide is given. */
BPI_FN bp_status bpi_stored_floats(const bp_safetensors *file, const char *name, bp_real *real, double *wide, size_t n,
                                   bp_error *error) {
    const bp_stored *a;
    unsigned char piece[4096];
    size_t done = 0, size, i;
    bp_status status = bpi_stored_want(&a, file, name, n, error);
    if (status != BP_OK) return status;
    if (a->dtype != BP_DTYPE_F32 && a->dtype != BP_DTYPE_F64)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': array '%.80s' is %s, expected F32 or F64", file->path, name,
                        bp_dtype_name(a->dtype));
    size = bp_dtype_size(a->dtype);
    if (real && a->dtype == BP_DTYPE_REAL && bpi_little_endian()) /* the same bytes */
        return bpi_stored_fetch(file, file->data + a->begin, real, n * size, error);
    while (done < n) {
        const size_t m = bpi_min_size(n - done, sizeof piece / size);
        status = bpi_stored_fetch(file, file->data + a->begin + done * size, piece, m * size, error);
        if (status != BP_OK) return status;
        if (!bpi_little_endian()) bpi_swap_bytes(piece, m, size);
        for (i = 0; i < m; i++) {
            double x;
            if (size == 4) {
                float narrow;
                memcpy(&narrow, piece + i * 4, 4);
                x = (double)narrow;
            } else {
                memcpy(&x, piece + i * 8, 8);
            }
            if (real) real[done + i] = bpi_narrow(x);
            else wide[done + i] = x;
        }
        done += m;
    }
    return BP_OK;
}

BPRIOR_API bp_status bp_safetensors_read_real(const bp_safetensors *file, const char *name, bp_real *out, size_t n,
                                              bp_error *error) {
    return bpi_stored_floats(file, name, out, NULL, n, error);
}

BPRIOR_API bp_status bp_safetensors_read_double(const bp_safetensors *file, const char *name, double *out, size_t n,
                                                bp_error *error) {
    return bpi_stored_floats(file, name, NULL, out, n, error);
}

BPRIOR_API bp_status bp_safetensors_read_u64(const bp_safetensors *file, const char *name, uint64_t *out, size_t n,
                                             bp_error *error) {
    const bp_stored *a;
    bp_status status = bpi_stored_want(&a, file, name, n, error);
    if (status != BP_OK) return status;
    if (a->dtype != BP_DTYPE_U64)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': array '%.80s' is %s, expected U64", file->path, name,
                        bp_dtype_name(a->dtype));
    status = bpi_stored_fetch(file, file->data + a->begin, out, n * 8, error);
    if (status == BP_OK && !bpi_little_endian()) bpi_swap_bytes((unsigned char *)out, n, 8);
    return status;
}

BPRIOR_API bp_status bp_safetensors_read_bytes(const bp_safetensors *file, const char *name, void *out, size_t n,
                                               bp_error *error) {
    const bp_stored *a;
    const bp_status status = bpi_stored_want(&a, file, name, n, error);
    if (status != BP_OK) return status;
    if (a->dtype != BP_DTYPE_U8)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': array '%.80s' is %s, expected U8", file->path, name,
                        bp_dtype_name(a->dtype));
    return bpi_stored_fetch(file, file->data + a->begin, out, n, error);
}

BPRIOR_API bp_status bp_safetensors_read_tensor(const bp_safetensors *file, const bp_tensor *tensor, bp_error *error) {
    const bp_stored *a = bp_safetensors_find(file, tensor->name);
    bool fits;
    if (!a) return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s' has no array '%.90s'", file->path, tensor->name);
    fits = (a->n_dims == 2 && a->shape[0] == tensor->rows && a->shape[1] == tensor->cols) ||
           (a->n_dims == 1 && tensor->rows == 1 && a->shape[0] == tensor->cols);
    if (!fits)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.60s': array '%.60s' is %lu-dimensional, [%lu,%lu]; expected [%lu,%lu]",
                        file->path, tensor->name, (unsigned long)a->n_dims,
                        (unsigned long)(a->n_dims > 0 ? a->shape[0] : 1), (unsigned long)(a->n_dims > 1 ? a->shape[1] : 1),
                        (unsigned long)tensor->rows, (unsigned long)tensor->cols);
    return bp_safetensors_read_real(file, tensor->name, tensor->data, a->count, error);
}

/* ---- 20.10 the contract as text -------------------------------------------
 * A policy file says in its metadata what a person would want to know, one fact per key:
 *
 *     format       "bprior policy 1"                 bprior   "0.1.0"
 *     environment  "pendulum"                        spec     16 hexadecimal digits of bp_spec_hash()
 *     field.0      "angle 2"                         name and size, in the observation's order
 *     action       "continuous 1" | "discrete 4"     bounds: arrays "action/low", "action/high" (F64)
 *     sees.0       "angle"                           the policy's own fields, in its order
 *     hidden       "64 64"                           activation "elu", layer_norm "1", tanh_mean "1"
 *     tasks        "1"                               task_field "task"
 *
 * and has the arrays  policy/<layer>/w ...  (policy.1/... for further tasks),  head = [init_std, min_std] (F64),
 * normaliser/state and normaliser/settings = [clip, epsilon] (F64) if there is one. Fractions are arrays
 * and not text, because text would depend on the locale. */
BPI_FN BPI_PRINTF(3, 4) void bpi_fact(bpi_facts *facts, const char *key, const char *fmt, ...) {
    char *at = facts->buffer + facts->used;
    const size_t room = sizeof facts->buffer - facts->used, key_bytes = strlen(key) + 1;
    va_list args;
    int n;
    if (facts->n == BPI_FACTS || key_bytes + 2 > room) return;
    memcpy(at, key, key_bytes);
    va_start(args, fmt);
    n = vsnprintf(at + key_bytes, room - key_bytes, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room - key_bytes) return;
    facts->text[facts->n].key = at;
    facts->text[facts->n].value = at + key_bytes;
    facts->n++;
    facts->used += key_bytes + (size_t)n + 1;
}

BPI_FN void bpi_facts_spec(bpi_facts *facts, const char *format, const bp_spec *spec) {
    const uint64_t hash = bp_spec_hash(spec);
    size_t i;
    facts->n = facts->used = 0;
    bpi_fact(facts, "format", "%s", format);
    bpi_fact(facts, "bprior", "%s", BPRIOR_VERSION);
    bpi_fact(facts, "environment", "%s", spec->name);
    bpi_fact(facts, "spec", "%08lx%08lx", (unsigned long)(hash >> 32), (unsigned long)(hash & 0xFFFFFFFFu));
    for (i = 0; i < spec->n_fields; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "field.%lu", (unsigned long)i);
        bpi_fact(facts, key, "%s %lu", spec->field[i].name, (unsigned long)spec->field[i].size);
    }
    if (spec->action_kind == BP_ACTION_DISCRETE) bpi_fact(facts, "action", "discrete %lu", (unsigned long)spec->n_choices);
    else bpi_fact(facts, "action", "continuous %lu", (unsigned long)spec->action_size);
}

/* A whole number at the start of text, at most `most`; *end is what follows. */
BPI_FN bool bpi_parse_size(const char *text, size_t most, size_t *out, const char **end) {
    size_t value = 0;
    const char *at = text;
    while (*at >= '0' && *at <= '9') {
        const size_t digit = (size_t)(*at - '0');
        if (value > (most - bpi_min_size(digit, most)) / 10) return false;
        value = value * 10 + digit;
        at++;
    }
    if (at == text || value > most) return false;
    *out = value;
    *end = at;
    return true;
}

/* What is larger than this in a policy file was not written by us. */
#define BPI_FILE_SIZES ((size_t)1 << 24)

/* Read back what bpi_facts_spec() wrote; the action box is left at [-1,1]. */
BPI_FN bp_status bpi_read_spec_text(bp_spec *spec, const bp_safetensors *file, bp_error *error) {
    const char *text = bp_safetensors_text(file, "environment"), *end = NULL;
    size_t i, size = 0;
    bp_status status;
    bp_spec_begin(spec, text ? text : "");
    for (i = 0;; i++) {
        char key[32], name[BP_NAME];
        size_t n;
        (void)snprintf(key, sizeof key, "field.%lu", (unsigned long)i);
        text = bp_safetensors_text(file, key);
        if (!text) break;
        n = strcspn(text, " ");
        if (n == 0 || n >= BP_NAME || text[n] != ' ' || !bpi_parse_size(text + n + 1, BPI_FILE_SIZES, &size, &end) ||
            *end != '\0')
            return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': metadata '%s' is not \"name size\"", file->path, key);
        memcpy(name, text, n);
        name[n] = '\0';
        if (bp_spec_add_field(spec, name, size, error) != BP_OK)
            return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': metadata '%s' is not acceptable", file->path, key);
    }
    text = bp_safetensors_text(file, "action");
    if (text && strncmp(text, "discrete ", 9) == 0 && bpi_parse_size(text + 9, BPI_FILE_SIZES, &size, &end) && *end == '\0')
        status = bp_spec_actions_discrete(spec, size, error);
    else if (text && strncmp(text, "continuous ", 11) == 0 && bpi_parse_size(text + 11, BP_MAX_ACTION, &size, &end) &&
             *end == '\0')
        status = bp_spec_actions_continuous(spec, size, -1.0, 1.0, error);
    else
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': metadata 'action' is missing or odd", file->path);
    if (status == BP_OK) status = bp_spec_check(spec, error);
    if (status != BP_OK) return bpi_fail(error, BP_ERR_FORMAT, "'%.120s' does not describe an environment", file->path);
    return BP_OK;
}

/* The same with the action box. */
BPI_FN bp_status bpi_read_spec(bp_spec *spec, const bp_safetensors *file, bp_error *error) {
    bp_status status = bpi_read_spec_text(spec, file, error);
    if (status != BP_OK || spec->action_kind == BP_ACTION_DISCRETE) return status;
    status = bp_safetensors_read_double(file, "action/low", spec->action_low, spec->action_size, error);
    if (status == BP_OK) status = bp_safetensors_read_double(file, "action/high", spec->action_high, spec->action_size, error);
    if (status == BP_OK && bp_spec_check(spec, error) != BP_OK)
        status = bpi_fail(error, BP_ERR_FORMAT, "'%.120s': the action box is impossible", file->path);
    return status;
}

/* The first difference between two contracts, in words; false if there is none. */
BPI_FN bool bpi_spec_difference(char *text, size_t capacity, const bp_spec *have, const bp_spec *want) {
    size_t i;
    for (i = 0; i < have->n_fields || i < want->n_fields; i++) {
        const bp_field *a = &have->field[i], *b = &want->field[i];
        if (i >= have->n_fields) {
            (void)snprintf(text, capacity, "field '%s' (%lu numbers) is missing there", b->name, (unsigned long)b->size);
            return true;
        }
        if (i >= want->n_fields) {
            (void)snprintf(text, capacity, "field '%s' (%lu numbers) is only there", a->name, (unsigned long)a->size);
            return true;
        }
        if (strcmp(a->name, b->name) != 0 || a->size != b->size) {
            (void)snprintf(text, capacity, "field %lu is '%s' of %lu there, '%s' of %lu here", (unsigned long)i, a->name,
                           (unsigned long)a->size, b->name, (unsigned long)b->size);
            return true;
        }
    }
    if (have->action_kind != want->action_kind) {
        (void)snprintf(text, capacity, "actions are %s there, %s here",
                       have->action_kind == BP_ACTION_DISCRETE ? "discrete" : "continuous",
                       want->action_kind == BP_ACTION_DISCRETE ? "discrete" : "continuous");
        return true;
    }
    if (have->n_choices != want->n_choices || have->action_size != want->action_size) {
        (void)snprintf(text, capacity, "actions: %lu %s there, %lu here",
                       (unsigned long)(have->n_choices ? have->n_choices : have->action_size),
                       have->n_choices ? "choices" : "numbers",
                       (unsigned long)(want->n_choices ? want->n_choices : want->action_size));
        return true;
    }
    for (i = 0; have->action_kind == BP_ACTION_CONTINUOUS && i < have->action_size; i++)
        if (have->action_low[i] != want->action_low[i] || have->action_high[i] != want->action_high[i]) {
            (void)snprintf(text, capacity, "action %lu is in [%g, %g] there, in [%g, %g] here", (unsigned long)i,
                           have->action_low[i], have->action_high[i], want->action_low[i], want->action_high[i]);
            return true;
        }
    return false;
}

/* ---- 20.11 policy files ---------------------------------------------------- */

BPI_FN const char *bpi_activation_name(bp_activation activation) {
    switch (activation) {
    case BP_ACT_NONE: return "none";
    case BP_ACT_TANH: return "tanh";
    case BP_ACT_ELU: return "elu";
    case BP_ACT_RELU: return "relu";
    case BP_ACT_SOFTPLUS: return "softplus";
    }
    return "unknown";
}

/* Tensor of one view of one task's block: "policy/0/w", "policy.3/0/w"; of a high level: "high/0/w". */
BPI_FN void bpi_policy_tensor(bp_tensor *out, const char *prefix, const bp_policy *policy, const bp_real *params, size_t task,
                              size_t view) {
    bp_view v;
    bp_policy_view(&v, policy, view);
    if (task == 0) (void)snprintf(out->name, sizeof out->name, "%s/%s", prefix, v.name);
    else (void)snprintf(out->name, sizeof out->name, "%s.%lu/%s", prefix, (unsigned long)task, v.name);
    out->rows = v.rows;
    out->cols = v.cols;
    out->data = (bp_real *)params + task * policy->n_params + v.offset; /* a bp_tensor serves reading and writing */
}

BPI_FN const char *bpi_high_kind_name(bp_high_kind kind) {
    switch (kind) {
    case BP_HIGH_LEARNED: return "learned";
    case BP_HIGH_AUTOREGRESSIVE: return "autoregressive";
    case BP_HIGH_ISOTROPIC: return "isotropic";
    case BP_HIGH_AR1: return "ar1";
    }
    return "unknown";
}

typedef struct bpi_export {
    const bp_policy_export *what;
    double head[2], high_head[3], settings[2];
    size_t tasks, weights; /* weights = tasks * views, the first arrays; then the high level's; then head, low, high, normaliser */
    size_t high_weights;   /* views of the high level */
    bool box, normaliser;
} bpi_export;

BPI_FN void bpi_export_array(void *ctx, size_t i, bp_array *out) {
    const bpi_export *e = (const bpi_export *)ctx;
    const bp_policy_export *what = e->what;
    const bp_behavior *b = &what->behavior;
    size_t k = i - e->weights - e->high_weights;
    if (i < e->weights + e->high_weights) {
        bp_tensor tensor;
        if (i < e->weights) bpi_policy_tensor(&tensor, "policy", b->policy, b->params, i / b->policy->n_views, i % b->policy->n_views);
        else bpi_policy_tensor(&tensor, "high", b->high, b->high_params, 0, i - e->weights);
        *out = bp_array_tensor(&tensor);
        return;
    }
    if (b->latent.size == 0) k++;
    if (!e->box && k >= 2) k += 2;
    switch (k) {
    case 0: *out = bp_array_of("high/head", BP_DTYPE_F64, 0, 3, e->high_head); break;
    case 1: *out = bp_array_of("head", BP_DTYPE_F64, 0, 2, e->head); break;
    case 2: *out = bp_array_of("action/low", BP_DTYPE_F64, 0, what->spec->action_size, what->spec->action_low); break;
    case 3: *out = bp_array_of("action/high", BP_DTYPE_F64, 0, what->spec->action_size, what->spec->action_high); break;
    case 4: *out = bp_array_of("normaliser/state", BP_DTYPE_F64, 0, what->normaliser->n_state, what->normaliser->state); break;
    default: *out = bp_array_of("normaliser/settings", BP_DTYPE_F64, 0, 2, e->settings); break;
    }
}

/* What a policy's structure is, as metadata whose keys begin with `prefix`. */
BPI_FN void bpi_facts_policy(bpi_facts *facts, const char *prefix, const bp_policy *policy, const bp_spec *spec) {
    const bp_mlp_config *net = bpi_policy_torso(policy);
    char list[BP_MAX_LAYERS * 24], key[40];
    size_t i, n = 0;
    for (i = 0; i < policy->fields.n; i++) {
        (void)snprintf(key, sizeof key, "%ssees.%lu", prefix, (unsigned long)i);
        bpi_fact(facts, key, "%s", spec->field[policy->fields.index[i]].name);
    }
    list[0] = '\0';
    for (i = 0; i < net->hidden_layers; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, i ? " %lu" : "%lu", (unsigned long)net->width[i]);
    (void)snprintf(key, sizeof key, "%shidden", prefix);
    bpi_fact(facts, key, "%s", list);
    (void)snprintf(key, sizeof key, "%sactivation", prefix);
    bpi_fact(facts, key, "%s", bpi_activation_name(net->activation));
    (void)snprintf(key, sizeof key, "%slayer_norm", prefix);
    bpi_fact(facts, key, "%d", net->layer_norm ? 1 : 0);
    (void)snprintf(key, sizeof key, "%stanh_mean", prefix);
    bpi_fact(facts, key, "%d", policy->head.tanh_mean ? 1 : 0);
    (void)snprintf(key, sizeof key, "%slstm", prefix);
    if (policy->state_size) bpi_fact(facts, key, "%lu", (unsigned long)policy->rnn.units);
}

BPRIOR_API bp_status bp_policy_save(const char *path, const bp_policy_export *what, bp_error *error) {
    const bp_behavior *b = &what->behavior;
    const bp_policy *policy = b->policy;
    const bool high_net = b->latent.size && bpi_high_has_net(b->high_kind);
    bpi_facts facts;
    bpi_export e;
    size_t arrays;
    if (!policy || !b->params || !what->spec || (high_net && (!b->high || !b->high_params)))
        return bpi_fail(error, BP_ERR_ARGUMENT, "bp_policy_save: policy, params and spec must be given");
    if (policy->observation_size != what->spec->observation_size || policy->action_size != what->spec->action_size ||
        policy->n_choices != what->spec->n_choices || policy->latent_size != b->latent.size ||
        (what->normaliser && what->normaliser->size != policy->observation_size))
        return bpi_fail(error, BP_ERR_MISMATCH, "bp_policy_save: policy, spec and normaliser do not belong together");
    memset(&e, 0, sizeof e);
    e.what = what;
    e.tasks = what->n_tasks ? what->n_tasks : 1;
    if (e.tasks > 1 && (!what->task_field || !bp_spec_find(what->spec, what->task_field)))
        return bpi_fail(error, BP_ERR_FIELD, "bp_policy_save: n_tasks is %lu, but task_field is not in the spec",
                        (unsigned long)e.tasks);

    bpi_facts_spec(&facts, "bprior policy 1", what->spec);
    bpi_facts_policy(&facts, "", policy, what->spec);
    bpi_fact(&facts, "tasks", "%lu", (unsigned long)e.tasks);
    if (e.tasks > 1) bpi_fact(&facts, "task_field", "%s", what->task_field);
    if (b->latent.size) {
        bpi_fact(&facts, "latent", "%lu", (unsigned long)b->latent.size);
        bpi_fact(&facts, "hold", "%lu", (unsigned long)b->latent.hold);
        bpi_fact(&facts, "high", "%s", bpi_high_kind_name(b->high_kind));
        if (high_net) bpi_facts_policy(&facts, "high.", b->high, what->spec);
    }

    e.weights = e.tasks * policy->n_views;
    e.high_weights = high_net ? b->high->n_views : 0;
    e.box = what->spec->action_kind == BP_ACTION_CONTINUOUS;
    e.head[0] = policy->head.init_std;
    e.head[1] = policy->head.min_std;
    if (high_net) {
        e.high_head[0] = b->high->head.init_std;
        e.high_head[1] = b->high->head.min_std;
    }
    e.high_head[2] = b->latent.phi;
    if (what->normaliser) {
        e.settings[0] = what->normaliser->clip;
        e.settings[1] = what->normaliser->epsilon;
    }
    arrays = e.weights + e.high_weights + (b->latent.size ? 1 : 0) + 1 + (e.box ? 2 : 0) + (what->normaliser ? 2 : 0);
    return bp_safetensors_write_from(path, bpi_export_array, &e, arrays, facts.text, facts.n, NULL, NULL, error);
}

/* Metadata prefix + name, or NULL. */
BPI_FN const char *bpi_prefixed_text(const bp_safetensors *file, const char *prefix, const char *name) {
    char key[40];
    (void)snprintf(key, sizeof key, "%s%s", prefix, name);
    return bp_safetensors_text(file, key);
}

/* A number in the metadata, at most `most`; absent: `otherwise`. */
BPI_FN bool bpi_size_text(size_t *out, const bp_safetensors *file, const char *prefix, const char *name, size_t most,
                          size_t otherwise) {
    const char *text = bpi_prefixed_text(file, prefix, name), *end = NULL;
    *out = otherwise;
    return !text || (bpi_parse_size(text, most, out, &end) && *end == '\0');
}

/* Units and latents: at most what the file could fill. */
BPI_FN size_t bpi_file_sizes(const bp_safetensors *file) { return bpi_min_size(BPI_FILE_SIZES, file->bytes); }

/* The structure of a stored level. Sizes are bounded by the file's own size, so that nothing overflows later. */
BPI_FN bp_status bpi_read_level(bp_policy *policy, const bp_safetensors *file, const bp_spec *spec, const char *prefix,
                                const double *head, size_t latent_size, bool high, bool autoregressive, bp_error *error) {
    bp_policy_config config = bp_policy_config_default();
    const char *text = bpi_prefixed_text(file, prefix, "hidden"), *names[BP_MAX_FIELDS];
    int a = 0;
    size_t i;
    bp_status status;
    for (i = 0; i < BP_MAX_FIELDS; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "sees.%lu", (unsigned long)i);
        names[i] = bpi_prefixed_text(file, prefix, name);
        if (!names[i]) break;
        config.fields[i] = names[i];
    }
    config.n_fields = i;
    config.hidden_layers = 0;
    while (text && *text) {
        size_t width = 0;
        if (config.hidden_layers == BP_MAX_LAYERS ||
            !bpi_parse_size(text, bpi_min_size(BPI_FILE_SIZES, file->bytes), &width, &text))
            return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': metadata '%shidden' is odd", file->path, prefix);
        config.width[config.hidden_layers++] = width;
        if (*text == ' ') text++;
    }
    text = bpi_prefixed_text(file, prefix, "activation");
    while (a <= (int)BP_ACT_SOFTPLUS && (!text || strcmp(text, bpi_activation_name((bp_activation)a)) != 0)) a++;
    if (a > (int)BP_ACT_SOFTPLUS)
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': metadata '%sactivation' is missing or odd", file->path, prefix);
    config.activation = (bp_activation)a;
    text = bpi_prefixed_text(file, prefix, "layer_norm");
    config.layer_norm = text && strcmp(text, "1") == 0;
    text = bpi_prefixed_text(file, prefix, "tanh_mean");
    config.tanh_mean = text && strcmp(text, "1") == 0;
    if (!bpi_size_text(&config.lstm, file, prefix, "lstm", bpi_file_sizes(file), 0))
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': metadata '%slstm' is odd", file->path, prefix);
    if (high || spec->action_kind == BP_ACTION_CONTINUOUS) {
        config.init_std = head[0];
        config.min_std = head[1];
    }
    if ((spec->n_choices ? spec->n_choices : spec->action_size) > file->bytes)
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s' is too small for its own policy", file->path);
    status = latent_size ? bp_policy_init_level(policy, spec, &config, latent_size, high, autoregressive, error)
                         : bp_policy_init(policy, spec, &config, error);
    if (status != BP_OK && error) {
        bp_error inner = *error;
        return bpi_fail(error, BP_ERR_FORMAT, "'%.100s': %.140s", file->path, inner.text);
    }
    return status == BP_OK ? BP_OK : BP_ERR_FORMAT;
}

/* The structure of what a file holds: `out` points to `policy` and `high`, its parameters are not read yet. */
BPI_FN bp_status bpi_read_behavior(bp_behavior *out, bp_policy *policy, bp_policy *high, const bp_safetensors *file,
                                   const bp_spec *spec, bp_error *error) {
    double head[3];
    bp_status status = bp_safetensors_read_double(file, "head", head, 2, error);
    memset(out, 0, sizeof *out);
    memset(high, 0, sizeof *high);
    if (status != BP_OK) return status;
    if (!bpi_size_text(&out->latent.size, file, "", "latent", bpi_file_sizes(file), 0) ||
        !bpi_size_text(&out->latent.hold, file, "", "hold", BPI_MOST_HOLD, 1))
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': metadata 'latent' or 'hold' is odd", file->path);
    status = bpi_read_level(policy, file, spec, "", head, out->latent.size, false, false, error);
    if (status != BP_OK) return status;
    out->policy = policy;
    if (out->latent.size) {
        const char *kind = bp_safetensors_text(file, "high");
        int k = 0;
        while (k <= (int)BP_HIGH_AR1 && (!kind || strcmp(kind, bpi_high_kind_name((bp_high_kind)k)) != 0)) k++;
        if (k > (int)BP_HIGH_AR1)
            return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': metadata 'high' is missing or odd", file->path);
        out->high_kind = (bp_high_kind)k;
        status = bp_safetensors_read_double(file, "high/head", head, 3, error);
        if (status != BP_OK) return status;
        if (!(head[2] > -1.0 && head[2] < 1.0))
            return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': phi is not between -1 and 1", file->path);
        out->latent.phi = head[2];
        if (bpi_high_has_net(out->high_kind)) {
            status = bpi_read_level(high, file, spec, "high.", head, out->latent.size, true,
                                    out->high_kind == BP_HIGH_AUTOREGRESSIVE, error);
            if (status != BP_OK) return status;
            out->high = high;
        }
    }
    return BP_OK;
}

BPI_FN bp_status bpi_read_params(bp_real *params, const char *prefix, const bp_policy *policy, size_t task,
                                 const bp_safetensors *file, bp_error *error) {
    size_t v;
    for (v = 0; v < policy->n_views; v++) {
        bp_tensor tensor;
        bp_status status;
        bpi_policy_tensor(&tensor, prefix, policy, params, task, v);
        status = bp_safetensors_read_tensor(file, &tensor, error);
        if (status != BP_OK) return status;
        if (!bpi_all_finite(tensor.data, tensor.rows * tensor.cols))
            return bpi_fail(error, BP_ERR_NONFINITE, "'%.120s': array '%.80s' holds numbers that are not finite", file->path,
                            tensor.name);
    }
    return BP_OK;
}

BPI_FN bp_status bpi_policy_format(const bp_safetensors *file, bp_error *error) {
    const char *format = bp_safetensors_text(file, "format");
    if (!format || strncmp(format, "bprior policy ", 14) != 0)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.120s' is no policy file of this library", file->path);
    if (strcmp(format + 14, "1") != 0)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.120s' has policy format %.20s, this library reads 1", file->path,
                        format + 14);
    return BP_OK;
}

BPI_FN void bpi_agent_layout(bp_agent **agent, bp_arena *arena, const bp_agent *plan, size_t normaliser_bytes, void **scratch,
                             void **normaliser) {
    *agent = (bp_agent *)bp_arena_take(arena, 1, sizeof **agent);
    *scratch = bp_arena_take(arena, bp_compute_bytes(), 1);
    *normaliser = bp_arena_take(arena, normaliser_bytes, 1);
    if (*agent) **agent = *plan;
    {
        bp_agent ignored;
        bp_agent *a = *agent ? *agent : &ignored;
        size_t params = 0;
        if (!bp_size_mul(&params, plan->n_tasks, plan->policy.n_params)) arena->overflow = true;
        a->params = bp_arena_real(arena, params);
        a->high_params = bp_arena_real(arena, plan->high.n_params);
        a->state = bp_arena_real(arena, bp_behavior_state_size(&plan->behavior));
        a->observation = bp_arena_real(arena, plan->spec.observation_size);
        a->dist = bp_arena_real(arena, plan->policy.dist_size);
        a->work = bp_arena_real(arena, bp_behavior_work_reals(&plan->behavior));
        a->behavior.policy = &a->policy;
        a->behavior.params = a->params;
        a->behavior.high = &a->high;
        a->behavior.high_params = a->high_params;
        a->canonical = bp_arena_real(arena, plan->policy.action_size);
    }
}

BPI_FN bp_status bpi_agent_read(bp_agent **out, const bp_safetensors *file, const bp_allocator *allocator, bp_error *error) {
    bp_agent plan, *agent = NULL;
    bp_arena arena = bp_arena_make(NULL, 0);
    const char *text, *end = NULL;
    void *scratch = NULL, *normaliser = NULL, *block;
    size_t numbers = 0, normaliser_bytes = 0, i;
    bp_status status = bpi_policy_format(file, error);
    if (status != BP_OK) return status;
    memset(&plan, 0, sizeof plan);
    status = bpi_read_spec(&plan.spec, file, error);
    if (status == BP_OK) status = bpi_read_behavior(&plan.behavior, &plan.policy, &plan.high, file, &plan.spec, error);
    if (status != BP_OK) return status;
    text = bp_safetensors_text(file, "tasks");
    if (!text || !bpi_parse_size(text, bpi_min_size(BPI_FILE_SIZES, file->bytes), &plan.n_tasks, &end) || *end ||
        plan.n_tasks == 0)
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': metadata 'tasks' is missing or odd", file->path);
    if (plan.n_tasks > 1 && bp_behavior_state_size(&plan.behavior))
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': policies of several tasks with memory or latents do not exist", file->path);
    if (plan.n_tasks > 1) {
        const bp_field *field = NULL;
        text = bp_safetensors_text(file, "task_field");
        if (text) field = bp_spec_find(&plan.spec, text);
        if (!field || field->size != plan.n_tasks)
            return bpi_fail(error, BP_ERR_FORMAT, "'%.120s': metadata 'task_field' is no field of one number per task",
                            file->path);
        plan.task_offset = field->offset;
        plan.task_size = field->size;
    }
    /* Each number takes at least 4 bytes on disk: do not ask for memory that the file cannot fill. */
    if (!bp_size_mul(&numbers, plan.n_tasks, plan.policy.n_params) || numbers > file->bytes / 4 ||
        plan.high.n_params > file->bytes / 4)
        return bpi_fail(error, BP_ERR_FORMAT, "'%.120s' is too small for its own policy", file->path);
    if (bp_safetensors_find(file, "normaliser/state")) {
        status = bp_normaliser_size(plan.spec.observation_size, &normaliser_bytes, error);
        if (status != BP_OK) return status;
    }

    bpi_agent_layout(&agent, &arena, &plan, normaliser_bytes, &scratch, &normaliser);
    if (arena.overflow) return bpi_fail(error, BP_ERR_SIZE, "'%.120s': sizes overflow", file->path);
    {
        const size_t bytes = arena.used;
        block = bp_alloc(allocator, bytes);
        if (!block)
            return bpi_fail(error, BP_ERR_MEMORY, "'%.120s': no memory for %lu bytes", file->path, (unsigned long)bytes);
        arena = bp_arena_make(block, bytes);
        bpi_agent_layout(&agent, &arena, &plan, normaliser_bytes, &scratch, &normaliser);
        if (arena.overflow || !agent) {
            bp_free(allocator, block, bytes);
            return bpi_fail(error, BP_ERR_SIZE, "'%.120s': sizes overflow", file->path);
        }
        bpi_own(&agent->owner, allocator, bytes);
        agent->block = block;
    }
    status = bp_compute_init(&agent->compute, BP_KERNEL_AUTO, scratch, error);
    for (i = 0; i < plan.n_tasks && status == BP_OK; i++)
        status = bpi_read_params(agent->params, "policy", &agent->policy, i, file, error);
    if (status == BP_OK && agent->high.n_params) status = bpi_read_params(agent->high_params, "high", &agent->high, 0, file, error);
    if (status == BP_OK && normaliser_bytes) {
        double settings[2];
        status = bp_normaliser_init(&agent->normaliser, plan.spec.observation_size, normaliser, normaliser_bytes, error);
        if (status == BP_OK)
            status = bp_safetensors_read_double(file, "normaliser/state", agent->normaliser.state,
                                                agent->normaliser.n_state, error);
        if (status == BP_OK) status = bp_safetensors_read_double(file, "normaliser/settings", settings, 2, error);
        if (status == BP_OK) {
            agent->normaliser.clip = settings[0];
            agent->normaliser.epsilon = settings[1];
            for (i = 0; i < agent->normaliser.n_state; i++)
                if (!bpi_finite_d(agent->normaliser.state[i])) status = BP_ERR_NONFINITE;
            if (!(settings[0] > 0.0) || !(settings[1] >= 0.0) || !(agent->normaliser.state[0] >= 0.0))
                status = BP_ERR_NONFINITE;
            for (i = 0; i < agent->normaliser.size; i++)
                if (agent->normaliser.m2[i] < 0.0) status = BP_ERR_NONFINITE;
            if (status != BP_OK)
                status = bpi_fail(error, status, "'%.120s': the normaliser holds impossible numbers", file->path);
        }
    }
    if (status != BP_OK) {
        bp_agent_destroy(agent);
        return status;
    }
    *out = agent;
    return bpi_ok(error);
}

BPRIOR_API bp_status bp_agent_load(bp_agent **out, const char *path, const bp_allocator *allocator, bp_error *error) {
    bp_safetensors *file;
    bp_status status;
    *out = NULL;
    status = bp_safetensors_open(&file, path, allocator, error);
    if (status != BP_OK) return status;
    status = bpi_agent_read(out, file, allocator, error);
    bp_safetensors_close(file);
    return status;
}

BPRIOR_API bp_status bp_agent_load_memory(bp_agent **out, const void *data, size_t bytes, const bp_allocator *allocator,
                                          bp_error *error) {
    bp_safetensors *file;
    bp_status status;
    *out = NULL;
    status = bp_safetensors_open_memory(&file, data, bytes, allocator, error);
    if (status != BP_OK) return status;
    status = bpi_agent_read(out, file, allocator, error);
    bp_safetensors_close(file);
    return status;
}

BPRIOR_API void bp_agent_destroy(bp_agent *agent) {
    if (agent) {
        const bp_owner owner = agent->owner;
        bpi_disown(&owner, agent->block);
    }
}

BPRIOR_API void bp_agent_reset(bp_agent *agent) {
    memset(agent->state, 0, bp_behavior_state_size(&agent->behavior) * sizeof(bp_real));
}

/* agent->canonical and agent->dist for this observation. rng NULL: the best action. */
BPI_FN bp_status bpi_agent_choose(bp_agent *agent, bp_real *log_prob, bp_rng *rng, const bp_real *observation) {
    const bp_real *shown = observation;
    agent->behavior.params = agent->params;
    if (!bpi_all_finite(observation, agent->spec.observation_size)) return BP_ERR_NONFINITE;
    if (agent->n_tasks > 1) { /* one-hot: the largest entry is the task */
        size_t i, best = 0;
        for (i = 1; i < agent->task_size; i++)
            if (observation[agent->task_offset + i] > observation[agent->task_offset + best]) best = i;
        agent->behavior.params += best * agent->policy.n_params;
    }
    if (agent->normaliser.size) {
        bp_normaliser_apply(agent->observation, &agent->normaliser, observation, 1);
        shown = agent->observation;
    }
    bp_behavior_act(&agent->compute, agent->canonical, log_prob, NULL, agent->dist, agent->state, agent->work, rng, shown,
                    &agent->behavior);
    return BP_OK;
}

/* From [-1,1] to the environment's box, to the same bits as bp_env_rescale_actions():
 *     u = (clip(a) + 1)/2,   a' = (1 - u) low + u high
 * A box that is [-1,1] already was never rescaled. */
BPI_FN void bpi_agent_scale(bp_real *action, const bp_agent *agent) {
    const bp_spec *spec = &agent->spec;
    bool canonical = true;
    size_t i;
    for (i = 0; i < spec->action_size; i++)
        if (!(spec->action_low[i] == -1.0 && spec->action_high[i] == 1.0)) canonical = false;
    for (i = 0; i < spec->action_size; i++) {
        const double a = (double)agent->canonical[i];
        const double clipped = a < -1.0 ? -1.0 : a > 1.0 ? 1.0
                                                         : a,
                     u = 0.5 * (clipped + 1.0);
        if (spec->action_kind == BP_ACTION_DISCRETE) action[i] = agent->canonical[i];
        else if (canonical) action[i] = (bp_real)clipped;
        else action[i] = (bp_real)((1.0 - u) * spec->action_low[i] + u * spec->action_high[i]);
    }
}

BPRIOR_API bp_status bp_agent_act(bp_agent *agent, bp_real *action, const bp_real *observation) {
    const bp_status status = bpi_agent_choose(agent, NULL, NULL, observation);
    if (status != BP_OK) return status;
    bpi_agent_scale(action, agent);
    return BP_OK;
}

BPRIOR_API bp_status bp_agent_sample(bp_agent *agent, bp_real *action, bp_real *log_prob, const bp_real *observation,
                                     bp_rng *rng) {
    const bp_status status = bpi_agent_choose(agent, log_prob, rng, observation);
    if (status != BP_OK) return status;
    bpi_agent_scale(action, agent);
    return BP_OK;
}

BPRIOR_API bp_status bp_agent_check(const bp_agent *agent, const bp_spec *spec, bp_error *error) {
    char text[200];
    if (bpi_spec_difference(text, sizeof text, &agent->spec, spec))
        return bpi_fail(error, BP_ERR_MISMATCH, "the policy was made for another environment: %s", text);
    return bpi_ok(error);
}

/* Can the stored policy take the place of this one? The first difference, in words. */
BPI_FN bp_status bpi_same_structure(const bp_policy *have, const bp_spec *spec, const bp_policy *want, const bp_spec *want_spec,
                                    const char *path, const char *what, bp_error *error) {
    const bp_mlp_config *a = bpi_policy_torso(have), *b = bpi_policy_torso(want);
    size_t i;
    for (i = 0; i < have->fields.n || i < want->fields.n; i++) {
        const char *there = i < have->fields.n ? spec->field[have->fields.index[i]].name : "nothing";
        const char *here = i < want->fields.n ? want_spec->field[want->fields.index[i]].name : "nothing";
        const size_t m = i < have->fields.n ? have->fields.length[i] : 0, n = i < want->fields.n ? want->fields.length[i] : 0;
        if (strcmp(there, here) != 0 || m != n)
            return bpi_fail(error, BP_ERR_MISMATCH,
                            "'%.80s': as field %lu the stored %s sees '%s' (%lu numbers), this one '%s' (%lu)", path,
                            (unsigned long)i, what, there, (unsigned long)m, here, (unsigned long)n);
    }
    if (have->output != want->output || have->dist_size != want->dist_size)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': the stored %s is %s with %lu outputs, this one %s with %lu", path, what,
                        have->output == BP_OUTPUT_GAUSSIAN ? "Gaussian" : "categorical", (unsigned long)have->dist_size,
                        want->output == BP_OUTPUT_GAUSSIAN ? "Gaussian" : "categorical", (unsigned long)want->dist_size);
    if (a->hidden_layers != b->hidden_layers)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': the stored %s has %lu hidden layers, this one %lu", path, what,
                        (unsigned long)a->hidden_layers, (unsigned long)b->hidden_layers);
    for (i = 0; i < a->hidden_layers; i++)
        if (a->width[i] != b->width[i])
            return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': hidden layer %lu of the %s has %lu units there, %lu here", path,
                            (unsigned long)i, what, (unsigned long)a->width[i], (unsigned long)b->width[i]);
    if (have->rnn.units != want->rnn.units)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': the stored %s has an LSTM of %lu units, this one of %lu", path, what,
                        (unsigned long)have->rnn.units, (unsigned long)want->rnn.units);
    if (a->activation != b->activation || a->layer_norm != b->layer_norm)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': activation or layer_norm of the %s differ", path, what);
    if (have->output == BP_OUTPUT_GAUSSIAN && (have->head.init_std != want->head.init_std || have->head.min_std != want->head.min_std ||
                                               have->head.tanh_mean != want->head.tanh_mean))
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': init_std, min_std or tanh_mean of the %s differ", path, what);
    return BP_OK;
}

/* Do the latents agree, and are there the levels that this learner's prior has? */
BPI_FN bp_status bpi_same_levels(const bp_behavior *have, const bp_rs0 *l, const char *path, bp_error *error) {
    const bp_latent_config *c = &l->config.latent;
    if (have->latent.size != l->latent.size)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': the stored prior has a latent of %lu numbers, this one of %lu", path,
                        (unsigned long)have->latent.size, (unsigned long)l->latent.size);
    if (l->latent.size == 0) return BP_OK;
    if (have->high_kind != c->prior_kind)
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': the stored prior's latent is %s, this one's %s", path,
                        bpi_high_kind_name(have->high_kind), bpi_high_kind_name(c->prior_kind));
    if (have->latent.hold != l->latent.hold || (have->high_kind == BP_HIGH_AR1 && have->latent.phi != l->latent.phi))
        return bpi_fail(error, BP_ERR_MISMATCH, "'%.100s': its latent is held %lu steps with phi %g, this one %lu with %g", path,
                        (unsigned long)have->latent.hold, have->latent.phi, (unsigned long)l->latent.hold, l->latent.phi);
    return BP_OK;
}

BPRIOR_API bp_status bp_rs0_load_prior(bp_rs0 *learner, const char *path, const bp_allocator *allocator, bp_error *error) {
    const bool shared = bpi_rs0_shares_low(learner);
    const bp_policy *low = shared ? &learner->policy : &learner->prior;
    bp_safetensors *file;
    bp_spec spec;
    bp_policy policy, high;
    bp_behavior have;
    size_t n = 0;
    bp_real *params = NULL;
    bp_status status;
    if (!bpi_rs0_has_prior_net(learner))
        return bpi_fail(error, BP_ERR_UNSUPPORTED, "load prior: prior_kind must be BP_PRIOR_LEARNED or BP_PRIOR_FIXED");
    status = bp_safetensors_open(&file, path, allocator, error);
    if (status != BP_OK) return status;
    status = bpi_policy_format(file, error);
    if (status == BP_OK) status = bpi_read_spec(&spec, file, error);
    if (status == BP_OK) status = bpi_read_behavior(&have, &policy, &high, file, &spec, error);
    if (status == BP_OK) {
        const char *tasks = bp_safetensors_text(file, "tasks");
        if (!tasks || strcmp(tasks, "1") != 0)
            status = bpi_fail(error, BP_ERR_MISMATCH, "'%.120s' holds policies of several tasks; a prior is one", path);
        else if (bp_safetensors_find(file, "normaliser/state"))
            status = bpi_fail(error, BP_ERR_MISMATCH,
                              "'%.120s' was trained on normalised observations, whose scale is not this learner's", path);
    }
    if (status == BP_OK) status = bpi_same_levels(&have, learner, path, error);
    if (status == BP_OK) status = bpi_same_structure(&policy, &spec, low, &learner->spec, path, "prior", error);
    if (status == BP_OK && bpi_rs0_has_high_prior(learner))
        status = bpi_same_structure(&high, &spec, &learner->high_prior, &learner->spec, path, "high level", error);
    if (status == BP_OK) {
        n = high.n_params + policy.n_params;
        params = (bp_real *)bp_alloc(allocator, n * sizeof(bp_real));
        if (!params) status = bpi_fail(error, BP_ERR_MEMORY, "'%.120s': no memory for %lu weights", path, (unsigned long)n);
    }
    if (status == BP_OK && high.n_params) status = bpi_read_params(params, "high", &high, 0, file, error);
    if (status == BP_OK) status = bpi_read_params(params + high.n_params, "policy", &policy, 0, file, error);
    if (status == BP_OK && learner->prior_p.n) /* a shared low level is not part of the prior's own parameters, and comes last */
        status = bp_rs0_set_prior(learner, params, learner->prior_p.n, error);
    if (status == BP_OK && shared) {
        const size_t at = bpi_rs0_low_at(learner), bytes = policy.n_params * sizeof(bp_real);
        memcpy(learner->policy_p.online + at, params + high.n_params, bytes);
        memcpy(learner->policy_p.target + at, params + high.n_params, bytes);
    }
    if (params) bp_free(allocator, params, n * sizeof(bp_real));
    bp_safetensors_close(file);
    return status;
}


/* Chapter 1 opened a region in which a*b+c is never contracted into one rounding; the program's own code
 * after this include keeps its flags. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif

#endif /* BPRIOR_IMPLEMENTATION */

/*
 * MIT License
 *
 * Copyright (c) 2026 The bprior authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy
 * of this software and associated documentation files (the "Software"), to deal
 * in the Software without restriction, including without limitation the rights
 * to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
 * copies of the Software, and to permit persons to whom the Software is
 * furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all
 * copies or substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
 * LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
 * SOFTWARE.
 */
